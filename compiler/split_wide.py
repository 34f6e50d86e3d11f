"""split_wide: wide tensors between two products are made and used up part by part.

A gated MLP widens each token by a factor of three or four, twice, and passes of many tokens, which
read the weights once for all of them, would not fit the SRAM. What lies between products with the
same input and the one that takes it all is element-wise, so columns need not meet:

    h = act(x A) * (x B), y = h C    becomes    y = Σ (act(x A[:, p]) * (x B[:, p])) C[p]

The parts' products are operators of their own, "linear" with attributes `rows` and `cols`: which
part of the matrix they multiply with.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import lcm

from compiler.builder import round_up
from compiler.deferred import Array
from compiler.graph import Constant, Graph, Op, Operand, Table, Tensor
from compiler.lower_elementwise import BINARY, UNARY
from isa.config import F32_BYTES, ChipConfig
from isa.formats import FORMATS

_SRAM_PART = 16  # of the SRAM that a part of a tensor may take
_POINTWISE = {*BINARY, *UNARY}


def split_wide(graph: Graph, config: ChipConfig, chunk: int) -> Graph:
    """The graph for passes of ``chunk`` tokens. Products of quantised activations stay whole."""
    widest = config.sram_bytes // _SRAM_PART // (F32_BYTES * chunk)
    blocks = [entry.block for entry in FORMATS.values() if entry.block]
    unit = lcm(config.rows, config.cols, config.lanes, *blocks)
    if graph.quantised or max(op.output.size for op in graph.ops) <= max(widest, unit):
        return graph
    inside: dict[str, list[Op]] = {}  # by the product that takes all of it
    made, readers = {op.output.name: op for op in graph.ops}, defaultdict[str, set[str]](set)
    for op in graph.ops:
        for i in op.inputs:
            if isinstance(i, Tensor):
                readers[i.name].add(op.output.name)
    for output in graph.outputs:
        readers[output.tensor.name].add("")
    for op in graph.ops:
        x = op.inputs[0]
        if op.kind == "linear" and isinstance(x, Tensor) and x.size > max(widest, unit):
            inside[op.output.name] = _between(op, made, readers)
    gone = {op.output.name for ops in inside.values() for op in ops}
    constants, result = dict(graph.constants), list[Op]()
    for op in graph.ops:
        if ops := inside.get(op.output.name):
            result += _parts(op, ops, constants, (widest, unit))
        elif op.output.name not in gone:
            result.append(op)
    return replace(graph, ops=tuple(result), constants=constants)


def _between(down: Op, made: Mapping[str, Op], readers: Mapping[str, set[str]]) -> list[Op]:
    """The operators, in order, that make the input of a product from other products, and nothing
    else; none where they are not all element-wise, or where another one reads what they make.
    ``made``: operators by their outputs, ``readers``: the outputs of those that read a tensor."""
    (h, *_) = down.inputs
    assert isinstance(h, Tensor)
    found, todo = dict[str, Op](), [h] if _is_plain(down) else []
    while todo:
        x = todo.pop()
        if x.name in found:
            continue
        op = made[x.name]
        if (x.groups, x.width) != (1, h.width):
            return []
        found[x.name] = op
        if op.kind == "linear" and _is_plain(op):
            continue
        if op.kind not in _POINTWISE or any(isinstance(i, Table) for i in op.inputs):
            return []
        todo += [i for i in op.inputs if isinstance(i, Tensor)]
    users = set(found) | {down.output.name}
    products = any(op.kind == "linear" for op in found.values())
    if not products or any(not readers[name] <= users for name in found):
        return []
    return [op for name, op in made.items() if name in found]


def _is_plain(op: Op) -> bool:
    """Whether a product has nothing but its tensor and its matrix: no activations in codes."""
    return len(op.inputs) == 2 and not op.attributes


def _parts(
    down: Op, ops: list[Op], constants: dict[str, Array], sizes: tuple[int, int]
) -> Iterator[Op]:
    """All operators again for each part, whose results are added up; ``sizes``: of a part at most,
    and what each is a multiple of."""
    (h, weights), (widest, unit) = down.inputs, sizes
    assert isinstance(h, Tensor)
    step = round_up(-(-h.width // -(-h.width // max(widest, unit))), unit)
    total: Tensor | None = None
    for start in range(0, h.width, step):
        part = start, min(start + step, h.width)
        for op in ops:
            yield _part(op, part, constants)
        y = Tensor(f"{down.output.name} of {part}", 1, down.output.width)
        product = _of(h, part, constants), weights
        yield replace(down, inputs=product, output=y, attributes={"rows": part})
        if total:
            both = f"{down.output.name} up to {part[1]}"
            added = down.output if part[1] == h.width else replace(y, name=both)
            yield Op("add", (total, y), added, down.sources)
            y = added
        total = y


def _part(op: Op, part: tuple[int, int], constants: dict[str, Array]) -> Op:
    """The operator for these columns of its output."""
    output = _of(op.output, part, constants)
    assert isinstance(output, Tensor)
    if op.kind == "linear":
        return replace(op, output=output, attributes={"cols": part})
    inputs = tuple(_of(x, part, constants) for x in op.inputs)
    return replace(op, inputs=inputs, output=output)


def _of(x: Operand, part: tuple[int, int], constants: dict[str, Array]) -> Operand:
    """These columns of a tensor or of a constant row."""
    if isinstance(x, Tensor):
        return Tensor(f"{x.name} of {part}", 1, part[1] - part[0])
    if isinstance(x, Constant) and constants[x.name].shape[-1] > 1:
        name = f"{x.name} of {part}"
        constants[name] = constants[x.name][..., slice(*part)]
        return Constant(name)
    return x
