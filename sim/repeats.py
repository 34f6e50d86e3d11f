"""Loops over layers: iterations that differ only in where in memory they reach.

One register walks through memory. Where it flows into nothing but addresses of loads and stores,
and all else that an iteration begins with is as it was at the first one's beginning, every
iteration does the same as the first, with addresses moved on by a fixed distance; who follows a
program need not follow all of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from isa.program import Op, Reg
from isa.table import Engine

_BRANCHES = {"beq", "blt"}
_WORD = 1 << 32
Sets = list[frozenset[int]]  # registers, for each instruction of a loop


@dataclass(frozen=True)
class Repeat:
    """Instructions ``begin`` to ``branch``: ``register``, ``start`` at first, walks through memory.

    All engines are done at the `sync` ``before`` the loop and at its last one, ``sync``, behind
    which an iteration adds ``tail`` to the register; it goes on below ``limit``. ``kept``: other
    registers that an iteration may read before it sets them. ``walking``: instructions whose
    address in memory comes from the register.
    """

    before: int
    begin: int
    sync: int
    branch: int
    register: int
    start: int
    tail: int
    limit: int
    kept: frozenset[int]
    walking: frozenset[int]

    def left(self, value: int, step: int) -> int:
        """Iterations to come, with this value of the register at the ``sync``, ``step`` apart."""
        return max(0, -(-(self.limit - value - self.tail) // step))


def find_repeats(ops: Sequence[Op]) -> list[Repeat]:
    """Such loops of a program."""
    found = (_repeat(ops, branch) for branch, op in enumerate(ops) if op.mnemonic == "blt")
    return [repeat for repeat in found if repeat]


def _repeat(ops: Sequence[Op], branch: int) -> Repeat | None:
    counter, limit, begin = (ops[branch].get(name) for name in ("rs", "x", "y"))
    if not (isinstance(counter, Reg) and isinstance(limit, int) and isinstance(begin, int)):
        return None
    register, body = counter.index, range(begin, branch)  # empty if it goes forward
    syncs = [index for index in body if ops[index].mnemonic == "sync"]
    start = _set_before(ops, begin, register)
    if not syncs or start is None or not _alone(ops, begin, branch):
        return None
    tail = [_step(ops[index], register) for index in range(syncs[-1] + 1, branch)]
    reached = _reached(ops, body, register)
    if None in tail or not tail or reached is None or any(ops[i].mnemonic == "st" for i in body):
        return None
    kept = _read_first(ops, body) - {register}
    if kept & reached[-1]:  # what one iteration leaves to the next walks, too
        return None
    walking = frozenset(i for i in body if _reads(ops[i]).get("hbm") in reached[i - begin])
    behind = sum(step or 0 for step in tail)
    return Repeat(
        begin - 2, begin, syncs[-1], branch, register, start, behind, limit,
        kept, walking,
    )  # fmt: skip


def _set_before(ops: Sequence[Op], begin: int, register: int) -> int | None:
    """What the register is when the loop begins, all engines being done: `sync`, `add`."""
    if begin < 2 or ops[begin - 2].mnemonic != "sync":
        return None
    op = ops[begin - 1]
    if op.mnemonic != "add" or _writes(op) != register or _reads(op) != {"rs": 0}:
        return None
    value = op.get("x")
    assert isinstance(value, int)
    return value


def _alone(ops: Sequence[Op], begin: int, branch: int) -> bool:
    """Whether no other branch leads into the loop or out of it, nor to the instruction before."""
    for index, op in enumerate(ops):
        if op.mnemonic in _BRANCHES and index != branch:
            target, inside = op.get("y"), begin <= index < branch
            if not isinstance(target, int) or target == begin - 1:
                return False
            if inside != (begin < target <= branch):
                return False
    return True


def _writes(op: Op) -> int | None:
    """The register that an instruction sets; r0 stays 0."""
    target = op.get("rd") if "rd" in op.spec.uses else None
    return target.index if isinstance(target, Reg) and target.index else None


def _reads(op: Op) -> dict[str, int]:
    """Operands that are registers."""
    values = ((name, op.get(name)) for name in op.spec.uses if name != "rd")
    return {name: value.index for name, value in values if isinstance(value, Reg)}


def _step(op: Op, register: int) -> int | None:
    """What an instruction adds to the register (it may go back); None if it does anything else."""
    if op.mnemonic != "add" or _writes(op) != register or _reads(op) != {"rs": register}:
        return None
    value = op.get("x")
    assert isinstance(value, int)
    return value - _WORD if value >= _WORD // 2 else value


def _followers(ops: Sequence[Op], body: range, index: int) -> list[int]:
    """Where an instruction of the loop can lead to, in the loop."""
    found = [index + 1]
    if ops[index].mnemonic in _BRANCHES:
        target = ops[index].get("y")
        assert isinstance(target, int)
        found.append(target)
    return [other for other in found if other in body]


def _settle(sets: Sets, change: Callable[[int], frozenset[int]], order: Sequence[int]) -> None:
    """Until nothing grows any more."""
    growing = True
    while growing:
        growing = False
        for index in order:
            new = sets[index] | change(index)
            growing |= new != sets[index]
            sets[index] = new


def _reached(ops: Sequence[Op], body: range, register: int) -> Sets | None:
    """Registers that the walking one may have flowed into, before each instruction; None if it
    reaches anything but addresses in memory, or is multiplied on the way."""
    into: list[list[int]] = [[] for _ in body]  # which instructions lead here
    for index in body:
        for other in _followers(ops, body, index):
            into[other - body.start].append(index - body.start)
    sets: Sets = [frozenset({register}) for _ in body]
    writes = [_writes(ops[index]) for index in body]
    reads = [frozenset(_reads(ops[index]).values()) for index in body]

    def after(place: int) -> frozenset[int]:
        reached, target = sets[place], writes[place]
        if target is None:
            return reached
        flows = reached & reads[place]
        return reached | {target} if flows else reached - {target}

    def before(place: int) -> frozenset[int]:
        return frozenset().union(*(after(other) for other in into[place]))

    _settle(sets, before, range(len(body)))
    good = all(_only_places(ops[i], sets[i - body.start], register) for i in body)
    return sets if good else None


def _only_places(op: Op, reached: frozenset[int], register: int) -> bool:
    """Whether what is reached becomes an address in memory, or a sum with something else."""
    used = [name for name, source in _reads(op).items() if source in reached]
    target = _writes(op)
    if target == register and (not used or _reads(op) != {"rs": register}):
        return False  # it is set to something else
    if not used or (used == ["hbm"] and op.spec.engine != Engine.SEQUENCER):
        return True
    return target is not None and (used, op.mnemonic) in (
        (["rs"], "add"), (["x"], "add"), (["rs"], "sub"),
    )  # fmt: skip


def _read_first(ops: Sequence[Op], body: range) -> frozenset[int]:
    """Registers that an iteration may read before it sets them, and does set."""
    sets: Sets = [frozenset() for _ in body]
    writes = [frozenset({_writes(ops[index]) or 0}) for index in body]
    reads = [frozenset(_reads(ops[index]).values()) for index in body]
    ahead = [[other - body.start for other in _followers(ops, body, index)] for index in body]

    def change(place: int) -> frozenset[int]:
        later = frozenset().union(*(sets[other] for other in ahead[place]))
        return (later - writes[place]) | reads[place]

    _settle(sets, change, range(len(body) - 1, -1, -1))
    changed = {_writes(ops[index]) for index in body}
    return frozenset(sets[0] & changed)
