"""Accesses of a trace since the last `sync`, for questions about overlaps."""

from typing import NamedTuple

from isa.table import Engine
from sim.footprint import Access
from sim.scalar import Command

_USERS = {  # who touches what
    "sram": (Engine.LOAD, Engine.STORE, Engine.MATRIX, Engine.VECTOR),
    "acc": (Engine.MATRIX, Engine.VECTOR),
    "hbm": (Engine.LOAD, Engine.STORE, Engine.SEQUENCER),
}


class Entry(NamedTuple):
    """An access of ``command``, the ``sequence``-th one of its engine."""

    sequence: int
    base: int
    end: int
    access: Access
    command: Command


class Epoch:
    """``add`` takes what an instruction accesses and its number among those of its engine."""

    def __init__(self) -> None:
        tables: dict[tuple[str, Engine, bool], list[Entry]] = {
            (space, engine, write): []
            for space, users in _USERS.items()
            for engine in users
            for write in (False, True)
        }
        self._tables = tables
        # What an access of an engine can be in conflict with: one of the two is a write.
        self._others = {
            (space, engine, write): [
                (other, table)
                for (place, other, writes), table in tables.items()
                if place == space and other != engine and (write or writes)
            ]
            for space, engine, write in tables
        }

    def add(self, access: Access, command: Command, sequence: int) -> None:
        entry = Entry(sequence, access.base, access.end, access, command)
        self._tables[access.space, command.engine, access.write].append(entry)

    def suspects(self, access: Access, engine: Engine, known: list[int]) -> list[Entry]:
        """Earlier accesses of other engines, one of the two a write, whose bounds overlap and that
        are not known to be complete: ``known[e]`` instructions of engine e are. Few are to be
        looked at: engines follow each other closely."""
        found = []
        base, end = access.base, access.end
        for other, table in self._others[access.space, engine, access.write]:
            complete = known[other]
            for entry in reversed(table):
                if entry.sequence < complete:
                    break
                if entry.base < end and base < entry.end:
                    found.append(entry)
        return found
