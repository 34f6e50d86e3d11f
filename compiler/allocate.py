"""Rooms in the SRAM: lifetimes of buffers, and where they lie."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from compiler.virtual import Buffer, Item, Label, VirtualOp, accesses
from isa.config import ChipConfig
from isa.table import Engine

STORE_LAG = 64  # instructions behind a store in which what it reads is not overwritten
LAG = 16  # the same behind any instruction, and what it writes


class DoesNotFit(Exception):
    """The SRAM is too small for the chunk size that was tried."""


@dataclass(eq=False)
class Life:
    """A buffer in SRAM: its first and last touch in program order, and where it lies."""

    buffer: Buffer
    born: int
    dies: int
    stored: bool = False  # last by a store
    address: int = 0

    def keeps(self, lags: tuple[int, int]) -> int:
        """Up to where it keeps its room."""
        return self.dies + lags[not self.stored]


def lifetimes(items: list[Item], loop: tuple[str, str] | None = None) -> list[Life]:
    """Of all buffers in SRAM, in the order of their births. What is there before a ``loop`` (the
    labels that begin and end it) and used in it lives to its end."""
    lives: dict[str, Life] = {}
    for i, item in enumerate(items):
        for access in accesses(item):
            if access.buffer.space == "sram":
                life = lives.setdefault(access.buffer.name, Life(access.buffer, i, i))
                life.dies = i
                life.stored = isinstance(item, VirtualOp) and item.engine == Engine.STORE
    if loop:
        begin, end = (items.index(Label(name)) for name in loop)
        for life in lives.values():
            if life.born < begin < life.dies:
                life.dies = max(life.dies, end)
    return sorted(lives.values(), key=lambda life: (life.born, life.buffer.name))


def live_bytes(lives: list[Life]) -> int:
    """The most that is there at one time."""
    changes = np.zeros(max((life.dies for life in lives), default=0) + 2, np.int64)
    for life in lives:
        changes[life.born] += life.buffer.size
        changes[life.dies + 1] -= life.buffer.size
    return int(np.cumsum(changes).max())


def allocate(items: list[Item], config: ChipConfig) -> dict[str, int]:
    """SRAM addresses of buffers by name. Raises DoesNotFit."""
    lives = lifetimes(items)
    for _ in packings(lives, config.sram_bytes):
        return {life.buffer.name: life.address for life in lives}
    raise DoesNotFit


def packings(lives: list[Life], room: int) -> Iterator[None]:
    """Gives all their addresses, in all ways that fit, the best first. What is there keeps its room
    a while longer than it is wanted, if there is enough: who takes that room waits for the engine
    that used it last, although it needs nothing of it. What a store reads does so for longer: the
    memory puts writes off."""
    for lags in ((STORE_LAG, LAG), (STORE_LAG, 0), (0, 0)):
        for pack in (_by_birth, _by_size):
            if pack(lives, lags, room):
                yield


def _by_birth(lives: list[Life], lags: tuple[int, int], room: int) -> bool:
    """In program order: best fit. Whether all have found room."""
    live: list[tuple[int, int, int]] = []  # (address, end, when it goes), by address
    for life in lives:
        live = [entry for entry in live if entry[2] >= life.born]
        if (address := _best_fit(live, life.buffer.size, room)) is None:
            return False
        life.address = address
        live = sorted([*live, (address, address + life.buffer.size, life.keeps(lags))])
    return True


def _best_fit(live: list[tuple[int, int, int]], size: int, room: int) -> int | None:
    """Where the smallest gap between live buffers begins that is large enough."""
    gaps, free = list[tuple[int, int]](), 0
    for begin, end, _ in [*live, (room, room, 0)]:
        if begin - free >= size:
            gaps.append((begin - free, free))
        free = max(free, end)
    return min(gaps)[1] if gaps else None


def _by_size(lives: list[Life], lags: tuple[int, int], room: int) -> bool:
    """The largest first: first fit among those that it lives beside. Whether all have found
    room."""
    known = np.zeros((len(lives), 4), np.int64)  # born, keeps, address, end
    for count, life in enumerate(sorted(lives, key=lambda life: -life.buffer.size)):
        size, keeps = life.buffer.size, life.keeps(lags)
        beside = known[:count]
        beside = beside[(beside[:, 0] <= keeps) & (beside[:, 1] >= life.born)]
        address = 0
        for begin, end in beside[np.argsort(beside[:, 2]), 2:].tolist():
            if begin - address >= size:
                break
            address = max(address, end)
        if address + size > room:
            return False
        life.address = address
        known[count] = life.born, keeps, address, address + size
    return True


def peak(items: list[Item], addresses: dict[str, int]) -> int:
    """Bytes of SRAM up to the last one that is used."""
    buffers = (access.buffer for item in items for access in accesses(item))
    return max((addresses[b.name] + b.size for b in buffers if b.space == "sram"), default=0)


class Rooms:
    """What has its place in SRAM, and when."""

    def __init__(self, lives: Sequence[Life], size: int):
        self._size = size
        self._known = np.array([_entry(life) for life in lives], np.int64).reshape(-1, 4)
        self._rows = {id(life): row for row, life in enumerate(lives)}

    def find(self, life: Life, start: int) -> int | None:
        """The first time from ``start`` on at which a buffer can be born, and gives it the address
        for that; None if there is no room for it when it is born without that."""
        begins, ends, born, dies = self._known.T
        near = (dies >= start) & (born <= life.dies)
        if (row := self._rows.get(id(life))) is not None:
            near[row] = False
        begins, ends, dies = begins[near], ends[near], dies[near]
        size = life.buffer.size
        places = np.unique(np.concatenate([[0], ends, begins - size, [self._size - size]]))
        places = places[(places >= 0) & (places <= self._size - size)]
        beside = (begins < places[:, None] + size) & (ends > places[:, None])
        free = np.where(beside, dies + 1, start).max(1, initial=start)
        if not free.size or free.min() > life.born:
            return None
        best = int(free.argmin())
        life.address = int(places[best])
        return int(free[best])

    def put(self, life: Life, start: int) -> None:
        """There it lies, from ``start`` on."""
        entry = np.array([life.address, life.address + life.buffer.size, start, life.dies])
        if (row := self._rows.get(id(life))) is not None:
            self._known[row] = entry
        else:
            self._rows[id(life)] = len(self._known)
            self._known = np.vstack([self._known, entry])


def _entry(life: Life) -> tuple[int, int, int, int]:
    return life.address, life.address + life.buffer.size, life.born, life.dies
