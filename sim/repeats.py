"""Loops over layers: iterations that differ only in where in memory they reach.

A program with such a loop behaves in every iteration as in the first, with addresses in memory
moved on by a fixed distance; who follows a program need not follow all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from isa.program import Op, Reg
from isa.table import Engine

_BRANCHES = {"beq", "blt"}
_WORD = 1 << 32


@dataclass(frozen=True)
class Repeat:
    """Instructions ``begin`` to ``branch``. ``register`` reaches nothing but addresses in memory;
    each iteration adds ``step`` (atoms) to it, ``tail`` of that behind the last ``sync``, where
    all engines are done, and goes on below ``limit``."""

    begin: int
    sync: int
    branch: int
    register: int
    step: int
    tail: int
    limit: int

    def left(self, value: int) -> int:
        """Iterations to come, with this value of the register at the ``sync``."""
        return max(0, -(-(self.limit - value - self.tail) // self.step))


def find_repeats(ops: Sequence[Op]) -> dict[int, Repeat]:
    """Such loops of a program by the place of their last ``sync``."""
    found = {}
    for branch, op in enumerate(ops):
        repeat = _repeat(ops, branch) if op.mnemonic == "blt" else None
        if repeat:
            found[repeat.sync] = repeat
    return found


def _repeat(ops: Sequence[Op], branch: int) -> Repeat | None:
    counter, limit, begin = (ops[branch].get(name) for name in ("rs", "x", "y"))
    if not (isinstance(counter, Reg) and isinstance(limit, int) and isinstance(begin, int)):
        return None
    register, body = counter.index, range(begin, branch)  # empty if it goes forward
    syncs = [index for index in body if ops[index].mnemonic == "sync"]
    if not syncs or not _settled(ops, begin) or not _alone(ops, begin, branch):
        return None
    inner = _inner(ops, body)
    steps = {i: _step(ops[i], register) for i in body if _writes(ops[i]) == register}
    tail = range(syncs[-1] + 1, branch)
    quiet = all(ops[i].spec.engine == Engine.SEQUENCER for i in tail)
    if not quiet or any(i in loop for i in steps for loop in inner) or None in steps.values():
        return None
    step = sum(value or 0 for value in steps.values()) % _WORD
    if not 0 < step < _WORD // 2 or _spreads(ops, body, register) or _carries(ops, body, register):
        return None
    behind = sum(value or 0 for i, value in steps.items() if i in tail) % _WORD
    return Repeat(begin, syncs[-1], branch, register, step, behind, limit)


def _settled(ops: Sequence[Op], begin: int) -> bool:
    """Whether all engines are done when the loop begins."""
    before = begin - 1
    while before >= 0 and ops[before].mnemonic in ("add", "sub", "mul"):
        before -= 1
    return before >= 0 and ops[before].mnemonic == "sync"


def _alone(ops: Sequence[Op], begin: int, branch: int) -> bool:
    """Whether no other branch leads into the loop or out of it."""
    for index, op in enumerate(ops):
        if op.mnemonic in _BRANCHES and index != branch:
            target, inside = op.get("y"), begin <= index < branch
            if not isinstance(target, int) or inside != (begin < target <= branch):
                return False
    return True


def _inner(ops: Sequence[Op], body: range) -> list[range]:
    """What branches in the loop go round or over."""
    found = []
    for index in body:
        target = ops[index].get("y") if ops[index].mnemonic in _BRANCHES else None
        if isinstance(target, int):
            found.append(range(min(index, target), max(index, target) + 1))
    return found


def _writes(op: Op) -> int | None:
    """The register that an instruction sets."""
    target = op.get("rd") if "rd" in op.spec.uses else None
    return target.index if isinstance(target, Reg) else None


def _reads(op: Op) -> dict[str, int]:
    """Operands that are registers."""
    values = ((name, op.get(name)) for name in op.spec.uses if name != "rd")
    return {name: value.index for name, value in values if isinstance(value, Reg)}


def _step(op: Op, register: int) -> int | None:
    """What an instruction adds to the register that it sets; None if it does anything else."""
    value = op.get("x")
    if op.mnemonic != "add" or _reads(op) != {"rs": register} or not isinstance(value, int):
        return None
    return value


def _spreads(ops: Sequence[Op], body: range, register: int) -> bool:
    """Whether the register reaches anything but addresses in memory, at once or through sums."""
    reached = {register}
    for index in body:
        op = ops[index]
        if op.mnemonic in _BRANCHES and len(reached) > 1:
            return True
        used = {name for name, source in _reads(op).items() if source in reached}
        target = _writes(op)
        if target is None:
            if used - ({"hbm"} if op.spec.engine != Engine.SEQUENCER else set()):
                return True
        elif used and op.mnemonic not in ("add", "sub"):
            return True
        elif used:
            reached.add(target)
        elif target != register:
            reached.discard(target)
    return False


def _carries(ops: Sequence[Op], body: range, register: int) -> bool:
    """Whether an iteration leaves something to the next one: a register that may be read before it
    is set, or words in memory."""
    over, known = _inner(ops, body), {0, register}
    changed = {_writes(ops[index]) for index in body}
    for index in body:
        op = ops[index]
        if op.mnemonic == "st":
            return True
        if any(source in changed and source not in known for source in _reads(op).values()):
            return True
        target = _writes(op)
        if target is not None and not any(index in loop for loop in over):
            known.add(target)
    return False
