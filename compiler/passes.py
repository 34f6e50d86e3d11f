"""Cutting a graph into passes over the tokens, where a token needs what later ones compute.

A decoder's chunk of tokens goes through the whole graph at once. In an encoder every token attends
to all: keys and values of all chunks must be in HBM before the first chunk's queries meet them. So
each attention ends a pass; the next one begins with it, and goes through all tokens again. So does
the largest number of all tokens of a launch, wherever there are more than one chunk of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from compiler.graph import Graph, Op, Operand, Tensor


@dataclass(frozen=True)
class Pass:
    """Operators that each chunk goes through before any chunk goes on. ``kept``: tensors made here
    or before that a later pass needs; ``brought``: those of earlier passes that this one reads."""

    ops: tuple[Op, ...]
    kept: tuple[Tensor, ...] = ()
    brought: tuple[Tensor, ...] = ()


def cut(graph: Graph, chunks: bool = False) -> list[Pass]:
    """The passes in order; one for a decoder. An encoder's attention becomes two operators:
    `append` (k, v) in one pass, `attend` (q and a bias) in the next. With ``chunks``, launch_max
    becomes `note_max` (x) and `noted_max`, else it is that of one chunk."""
    parts: list[list[Op]] = [[]]
    noted: dict[Tensor, Op] = {}  # maxima that are to be had in the next pass

    def end(*first: Op) -> None:
        parts.append([*first, *noted.values()])
        noted.clear()

    for op in graph.ops:
        if not noted.keys().isdisjoint(_tensors([op])):
            end()
        if chunks and op.kind == "launch_max":
            parts[-1].append(_part(op, "note_max", *op.inputs))
            noted[op.output] = _part(op, "noted_max")
        elif op.kind == "attention" and not graph.causal:
            q, k, v, *bias = op.inputs
            parts[-1].append(_part(op, "append", k, v))
            end(_part(op, "attend", q, *bias))
        else:
            parts[-1].append(op)
    made = [{op.output for op in part} for part in parts]
    read = [set(_tensors(part)) for part in parts]
    passes = []
    for index, part in enumerate(parts):
        later = set[Tensor]().union(*read[index + 1 :])
        before = set[Tensor]().union(*made[:index])
        kept = made[index] & later
        passes.append(Pass(tuple(part), _ordered(kept), _ordered(read[index] & before)))
    return passes


def _part(op: Op, kind: str, *inputs: Operand) -> Op:
    """One half of an operator; what the first one makes, nobody reads."""
    second = kind in ("attend", "noted_max")
    output = op.output if second else Tensor(f"{op.output.name}.{kind}", 1, 1)
    return Op(kind, inputs, output, op.sources, op.attributes)


def _tensors(ops: Iterable[Op]) -> Iterable[Tensor]:
    return (x for op in ops for x in op.inputs if isinstance(x, Tensor))


def _ordered(tensors: set[Tensor]) -> tuple[Tensor, ...]:
    return tuple(sorted(tensors, key=lambda tensor: tensor.name))
