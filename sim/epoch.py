"""Accesses of a trace since the last `sync`, for questions about overlaps."""

from collections.abc import Iterable, Mapping

import numpy as np

from isa.table import Engine
from sim.footprint import Access
from sim.scalar import Command

_USERS = {  # who touches what
    "sram": (Engine.LOAD, Engine.STORE, Engine.MATRIX, Engine.VECTOR),
    "acc": (Engine.MATRIX, Engine.VECTOR),
    "hbm": (Engine.LOAD, Engine.STORE, Engine.SEQUENCER),
}
_FORGET_EVERY = 256  # accesses


class _Accesses:
    """Of one space, reads or writes, as rows of numbers: base, end, engine, sequence number."""

    def __init__(self) -> None:
        self.numbers = np.zeros((4, _FORGET_EVERY), np.int64)
        self.accesses: list[tuple[Access, Command]] = []

    def add(self, access: Access, command: Command, sequence: int) -> None:
        count = len(self.accesses)
        if count == self.numbers.shape[1]:
            self.numbers = np.concatenate([self.numbers, np.zeros_like(self.numbers)], axis=1)
        self.numbers[:, count] = (access.base, access.end, command.engine, sequence)
        self.accesses.append((access, command))

    def overlapping(self, access: Access, known: list[int]) -> list[tuple[Access, Command]]:
        base, end, engine, sequence = self.numbers[:, : len(self.accesses)]
        (hit,) = ((base < access.end) & (end > access.base)).nonzero()
        if not hit.size:
            return []
        open_ones = hit[sequence[hit] >= np.array(known)[engine[hit]]]
        return [self.accesses[i] for i in open_ones]

    def forget(self, known: np.ndarray) -> None:
        seen = self.numbers[:, : len(self.accesses)]
        (kept,) = (seen[3] >= known[seen[2]]).nonzero()
        self.accesses = [self.accesses[i] for i in kept]
        self.numbers[:, : len(kept)] = seen[:, kept]


class Epoch:
    """``add`` takes what an instruction accesses and its number among those of its engine."""

    def __init__(self) -> None:
        self._tables = {(space, write): _Accesses() for space in _USERS for write in (False, True)}
        self._added = 0

    def add(self, access: Access, command: Command, sequence: int) -> None:
        self._added += 1
        self._tables[access.space, access.write].add(access, command, sequence)

    def suspects(self, access: Access, known: list[int]) -> Iterable[tuple[Access, Command]]:
        """Earlier accesses, one of the two a write, whose bounds overlap and that are not known to
        be complete: ``known[e]`` instructions of engine e are."""
        yield from self._tables[access.space, True].overlapping(access, known)
        if access.write:
            yield from self._tables[access.space, False].overlapping(access, known)

    def forget(self, known: Mapping[Engine, list[int]]) -> None:
        """Now and then: drop what is complete for all others that touch the same memory."""
        if self._added < _FORGET_EVERY:
            return
        self._added = 0
        for space, users in _USERS.items():
            complete = np.array([known[user] for user in users])
            for row, user in enumerate(users):
                complete[row, user] = np.iinfo(np.int64).max
            for write in (False, True):
                self._tables[space, write].forget(complete.min(axis=0))
