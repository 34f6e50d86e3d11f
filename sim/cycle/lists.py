"""The lists of rows that `gather`s take, known without values: of a program only the loads that
bring such a list are executed."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from isa.config import ChipConfig
from isa.rules import INDEX_BYTES
from sim.cycle.stored import Stored
from sim.footprint import Access, footprint
from sim.functional import plan_command
from sim.scalar import Command
from sim.state import State

_Span = tuple[int, int]  # bytes of SRAM, the last not included


class NeedsValues(Exception):
    """What the program executes depends on what its engines compute; says which instruction."""


class Lists:
    """Of the `gather`s of a run on ``memory``, while it goes on."""

    def __init__(self, config: ChipConfig, memory: NDArray[np.uint8]) -> None:
        self._config = config
        self._memory = memory
        self._state: State | None = None

    def rows(self, gather: Command, before: list[Command], stored: Stored) -> NDArray[np.int64]:
        """Of a gather behind the commands ``before``, while ``stored`` is in memory. Raises
        NeedsValues where an engine has computed them."""
        if self._state is None:
            self._state = State(self._config)
            self._state.hbm = self._memory
        for load in reversed(list(self._loads(gather, before, stored))):
            plan_command(self._state, load)[0]()
        begin, end = _list_of(gather)
        return self._state.sram[begin:end].view(np.uint32).astype(np.int64)

    def _loads(self, gather: Command, before: list[Command], stored: Stored) -> Iterator[Command]:
        """Those that have brought the list, the last one first."""
        wanted = [_list_of(gather)]
        for command in reversed(before):
            if not wanted:
                return
            accesses = footprint(self._config, command)
            written = [a for a in accesses if a.write and a.space == "sram" and _meets(a, wanted)]
            if not written:
                continue
            if command.mnemonic != "load":
                raise NeedsValues(f"instruction {command.pc} computes a list of rows")
            if any(a.space == "hbm" and stored.meets(a) for a in accesses):
                raise NeedsValues(f"instruction {command.pc} (load) reads rows that were stored")
            for access in written:
                if access.planes == 1 and (access.rows == 1 or access.stride == access.length):
                    wanted = [rest for span in wanted for rest in _without(span, access)]
            yield command


def _list_of(gather: Command) -> _Span:
    fields = gather.named()
    return int(fields["hplane"]), int(fields["hplane"]) + INDEX_BYTES * int(fields["rows"])


def _meets(access: Access, spans: list[_Span]) -> bool:
    return any(access.base < end and begin < access.end for begin, end in spans)


def _without(span: _Span, access: Access) -> Iterator[_Span]:
    """What is left of a span where all of an access is taken from it."""
    begin, end = span
    for first, last in ((begin, min(end, access.base)), (max(begin, access.end), end)):
        if first < last:
            yield first, last
