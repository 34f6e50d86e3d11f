"""Passes over the virtual program: allocate SRAM, insert semaphores, resolve addresses."""

from collections.abc import Iterator

import numpy as np

from compiler.errors import CompileError
from compiler.virtual import Address, Buffer, Item, Label, VirtualOp, accesses
from isa.config import ChipConfig
from isa.program import Op, Reg, Value
from isa.table import Engine

STORE_LAG = 64  # instructions behind a store in which what it reads is not overwritten
LAG = 16  # the same behind any instruction, and what it writes
_ENGINES = (Engine.LOAD, Engine.STORE, Engine.MATRIX, Engine.VECTOR)


class DoesNotFit(Exception):
    """The SRAM is too small for the chunk size that was tried."""


def allocate(
    items: list[Item], config: ChipConfig, loop: tuple[str, str] | None = None
) -> dict[str, int]:
    """SRAM addresses. What is there keeps its room a while longer than it is wanted, if there is
    enough: who takes that room waits for the engine that used it last, although it needs nothing of
    it. What a store reads does so for longer: the memory puts writes off. Raises DoesNotFit."""
    for lags in ((STORE_LAG, LAG), (STORE_LAG, 0)):
        try:
            return _allocate(items, config, loop, lags)
        except DoesNotFit:
            pass
    return _allocate(items, config, loop, (0, 0))


def _allocate(
    items: list[Item], config: ChipConfig, loop: tuple[str, str] | None, lags: tuple[int, int]
) -> dict[str, int]:
    """SRAM addresses: best fit over lifetimes from first to last touch in program order, and
    ``lags`` behind it: of stores, of others. What is there before a ``loop`` (the labels that begin
    and end it) and used in it lives to its end."""
    born: dict[str, int] = {}
    dies: dict[str, int] = {}
    buffers: dict[str, Buffer] = {}
    for i, item in enumerate(items):
        for access in accesses(item):
            if access.buffer.space == "sram":
                name = access.buffer.name
                buffers[name] = access.buffer
                born.setdefault(name, i)
                stored = isinstance(item, VirtualOp) and item.engine == Engine.STORE
                dies[name] = max(i + lags[not stored], dies.get(name, 0))
    if loop:
        begin, end = (items.index(Label(name)) for name in loop)
        for name in buffers:
            if born[name] < begin < dies[name]:
                dies[name] = max(dies[name], end)
    placed: dict[str, int] = {}
    live: list[tuple[int, int, str]] = []  # (address, end, name), by address
    for name in sorted(buffers, key=lambda n: (born[n], n)):
        live = [entry for entry in live if dies[entry[2]] >= born[name]]
        address = _best_fit(live, buffers[name].size, config.sram_bytes)
        placed[name] = address
        live = sorted([*live, (address, address + buffers[name].size, name)])
    return placed


def _best_fit(live: list[tuple[int, int, str]], size: int, room: int) -> int:
    """Where the smallest gap between live buffers begins that is large enough."""
    gaps, free = list[tuple[int, int]](), 0
    for begin, end, _ in [*live, (room, room, "")]:
        if begin - free >= size:
            gaps.append((begin - free, free))
        free = max(free, end)
    if not gaps:
        raise DoesNotFit
    return min(gaps)[1]


def peak(items: list[Item], addresses: dict[str, int]) -> int:
    """Bytes of SRAM up to the last one that is used."""
    buffers = (access.buffer for item in items for access in accesses(item))
    return max((addresses[b.name] + b.size for b in buffers if b.space == "sram"), default=0)


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
