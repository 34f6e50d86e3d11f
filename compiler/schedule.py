"""Passes over the virtual program: insert semaphores, resolve addresses."""

from collections.abc import Iterator

import numpy as np

from compiler.errors import CompileError
from compiler.virtual import Address, Buffer, Item, Label, VirtualOp, accesses
from isa.program import Op, Reg, Value
from isa.table import Engine

_ENGINES = (Engine.LOAD, Engine.STORE, Engine.MATRIX, Engine.VECTOR)


class _History:
    """Accesses so far as arrays, for overlap queries by interval."""

    def __init__(self, size: int):
        self.data = np.zeros((size, 6), np.int64)  # space, start, end, op, is write, engine
        self.count = 0

    def add(self, space: int, start: int, end: int, op: int, write: bool, engine: int) -> None:
        self.data[self.count] = (space, start, end, op, write, engine)
        self.count += 1

    def latest(self, space: int, start: int, end: int, write: bool) -> Iterator[tuple[int, int]]:
        """(engine, last op) of every engine with an access that conflicts with this one."""
        seen = self.data[: self.count]
        hit = (seen[:, 0] == space) & (seen[:, 1] < end) & (seen[:, 2] > start)
        if not write:
            hit &= seen[:, 4] == 1
        ops, engines = seen[hit, 3], seen[hit, 5]
        for engine in range(len(_ENGINES) if ops.size else 0):
            of_engine = ops[engines == engine]
            if of_engine.size:
                yield engine, int(of_engine[-1])  # they are in order

    def forget(self, known: np.ndarray) -> None:
        """Drop the accesses of ops up to ``known`` (by engine), behind which all engines are."""
        seen = self.data[: self.count]
        kept = seen[seen[:, 3] > known[seen[:, 5]]]
        self.count = len(kept)
        self.data[: self.count] = kept


_FORGET_EVERY = 256  # ops: what all engines know of is looked at no more
_SPACES = {"sram": 0, "acc": 1, "hbm": 2}


def synchronise(items: list[Item], addresses: dict[str, int]) -> None:
    """Give every hazard between engines a semaphore token; edges implied by earlier ones are
    dropped, and those across a `sync`, at which all engines are done.

    Semaphore 4·p + c carries tokens from engine p to engine c. An engine's tokens are signalled and
    awaited in the same order, so the k-th wait always means the k-th signal.
    """
    epoch: list[VirtualOp] = []
    for item in items:
        if isinstance(item, VirtualOp) and item.engine in _ENGINES:
            epoch.append(item)
        elif isinstance(item, VirtualOp) and item.mnemonic == "sync":
            _synchronise(epoch, addresses)
            epoch = []
    _synchronise(epoch, addresses)


def _synchronise(ops: list[VirtualOp], addresses: dict[str, int]) -> None:
    """Semaphores between two `sync`."""
    history = _History(sum(len(accesses(op)) for op in ops))
    # known[e, p]: the last op of engine p that is done before the next one of engine e begins.
    known = np.full((len(_ENGINES), len(_ENGINES)), -1)
    knowledge = np.empty((len(ops), len(_ENGINES)), np.int64)  # of each op's engine, when it began
    for index, op in enumerate(ops):
        engine = _ENGINES.index(op.engine)
        latest: dict[int, int] = {}
        for access, write in [(a, False) for a in op.reads] + [(a, True) for a in op.writes]:
            begin = _base(access.buffer, addresses)
            span = (_SPACES[access.buffer.space], begin + access.start, begin + access.end)
            for producer, other in history.latest(*span, write):
                latest[producer] = max(latest.get(producer, -1), other)
            history.add(*span, index, write, engine)
        mine = known[engine]
        for producer, other in sorted(latest.items(), key=lambda entry: -entry[1]):
            if producer != engine and mine[producer] < other:
                semaphore = len(_ENGINES) * producer + engine
                ops[other].signals.append(semaphore)
                op.waits.append(semaphore)
                mine[producer] = other
                np.maximum(mine, knowledge[other], out=mine)
        knowledge[index] = mine
        if index % _FORGET_EVERY == 0:
            everyone = known.copy()
            np.fill_diagonal(everyone, index)
            history.forget(everyone.min(axis=0))


def _base(buffer: Buffer, addresses: dict[str, int]) -> int:
    return addresses[buffer.name] if buffer.address is None else buffer.address


def resolve(items: list[Item], addresses: dict[str, int]) -> tuple[list[Op], list[str]]:
    """The program text and, for each instruction, the ONNX node it works for."""
    labels, count = {}, 0
    for item in items:
        if isinstance(item, Label):
            labels[item.name] = count
        else:
            count += 1
    ops, sources = [], []
    for item in items:
        if isinstance(item, Label):
            continue
        fields: dict[str, Value] = {}
        for name, value in item.fields.items():
            fields[name] = _resolve(item, name, value, addresses, labels)
        waits = tuple((semaphore, 1) for semaphore in item.waits)
        try:
            ops.append(Op(item.mnemonic, fields, waits, tuple(item.signals)))
        except ValueError as error:
            raise CompileError(
                item.source or "program", str(error), "too large for the chip"
            ) from None
        sources.append(item.source)
    return ops, sources


def _resolve(
    op: VirtualOp, name: str, value: object, addresses: dict[str, int], labels: dict[str, int]
) -> Value:
    if isinstance(value, Address):
        address = _base(value.buffer, addresses) + value.offset
        assert address % value.unit == 0, f"{op.mnemonic}: {name} is misaligned"
        return address // value.unit
    if isinstance(value, Label):
        return labels[value.name]
    assert isinstance(value, int | str | Reg)
    return value
