"""Traces without values: what a program executes, where no computed number decides it.

The sequencer's instructions are executed, of the engines' commands only the loads that bring lists
of rows for `gather`. So a trace costs what its instructions cost, however large their tensors are.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from isa.config import HBM_ATOM_BYTES
from isa.image import ProgramImage
from isa.rules import INDEX_BYTES
from sim.cycle.trace import Trace, make_trace, record
from sim.footprint import Access, footprint
from sim.functional import FunctionalCore, plan_command
from sim.repeats import Repeat, find_repeats
from sim.scalar import Command, ScalarMachine
from sim.state import State

_FOLLOWED = 3  # iterations of a loop over layers, and its last one


class NeedsValues(Exception):
    """What the program executes depends on what its engines compute; says which instruction."""


def trace_launch(image: ProgramImage, memory: NDArray[np.uint8], fold: bool = False) -> Trace:
    """The trace of a run on ``memory``, with the functional simulator's values if they are needed:
    then memory changes. ``fold``: as of `follow`. Raises as that simulator does."""
    try:
        return follow(image, memory, fold)
    except NeedsValues:
        core = FunctionalCore(image.config)
        core.load(image, memory)
        return record(image, core)


def follow(image: ProgramImage, memory: NDArray[np.uint8], fold: bool = False) -> Trace:
    """The trace of a run; ``memory`` is in the end as it was. ``fold``: of a loop over layers only
    some iterations are followed, and the trace's ``repeats`` say so. Raises NeedsValues, and Trap
    for what the sequencer itself refuses."""
    machine = ScalarMachine(image.config, image.code)
    machine.path = []
    overwritten: list[tuple[int, NDArray[np.uint8]]] = []
    loops = _Loops(machine, find_repeats(image.ops()) if fold else [])
    try:
        commands = list(_checked(image, machine.run(memory), memory, overwritten, loops))
        trace = make_trace(image, machine, commands, _numbers(image, memory, commands))
        return replace(trace, repeats=tuple(loops.folded))
    finally:
        for address, word in reversed(overwritten):  # a copy of memory might be too large
            memory[address : address + len(word)] = word


def _checked(
    image: ProgramImage,
    commands: Iterator[Command],
    memory: NDArray[np.uint8],
    overwritten: list[tuple[int, NDArray[np.uint8]]],
    loops: "_Loops",
) -> Iterator[Command]:
    """The same, unless an `ld` reads what an engine has stored; notes what `st` overwrites."""
    stored = Stored()
    for command in commands:
        if command.mnemonic == "store":
            written = [a for a in footprint(image.config, command) if a.write]
            stored.add(written)
            loops.stored += [(command.pc, access) for access in written]
        elif command.mnemonic == "ld":
            (word,) = footprint(image.config, command)
            if stored.meets(word):
                raise NeedsValues(f"instruction {command.pc} (ld) reads what a store has written")
        elif command.mnemonic == "st":
            (word,) = footprint(image.config, command)
            overwritten.append((word.base, memory[word.base : word.end].copy()))
        yield command
        if command.mnemonic == "sync":
            stored.add(loops.pass_by(command.pc))


class _Loops:
    """Loops over layers: of each the first iterations and the last one are followed, as the others
    are like the third. ``stored``: where stores went since the last iteration ended, which ones."""

    def __init__(self, machine: ScalarMachine, repeats: list[Repeat]) -> None:
        self._machine = machine
        self._repeats = {repeat.sync: repeat for repeat in repeats}
        self._starts = {repeat.before: repeat for repeat in repeats}
        self._ends: dict[int, list[tuple[int, list[int], int]]] = {}  # of iterations
        self.folded: list[tuple[int, int, int]] = []
        self.stored: list[tuple[int, Access]] = []

    def pass_by(self, pc: int) -> list[Access]:
        """At a `sync`; where the iterations that are passed over store, if it is in such a loop."""
        if pc in self._starts:
            self._ends[self._starts[pc].sync] = []
        repeat = self._repeats.get(pc)
        if repeat is None:
            return []
        registers, path = self._machine.registers, self._machine.path
        assert path is not None
        kept = [registers[index] for index in sorted(repeat.kept)]
        ends = self._ends.setdefault(pc, [])
        ends.append((len(path), kept, registers[repeat.register]))
        stored, self.stored = self.stored, []
        if len(ends) != _FOLLOWED or ends[-1][1] != ends[-2][1]:
            return []
        step = ends[-1][2] - ends[-2][2]
        more = repeat.left(ends[-1][2], step) - 1 if step > 0 else 0
        if more < 1:
            return []
        registers[repeat.register] += more * step
        self.folded.append((ends[-2][0], ends[-1][0], more))
        return [
            access._replace(base=access.base + number * step * HBM_ATOM_BYTES)
            for store, access in stored
            if store in repeat.walking
            for number in range(1, more + 1)
        ]


class Stored:
    """Where in memory has been stored: intervals that neither meet nor touch, in order. (A long
    prefill stores often, and looks it up before each pass.)"""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, accesses: list[Access]) -> None:
        for access in accesses:
            start, end = access.base, access.end
            first = bisect_left(self._ends, start)
            behind = bisect_right(self._starts, end)
            if first < behind:
                start = min(start, self._starts[first])
                end = max(end, self._ends[behind - 1])
            self._starts[first:behind] = [start]
            self._ends[first:behind] = [end]

    def meets(self, access: Access) -> bool:
        place = bisect_right(self._ends, access.base)
        return place < len(self._starts) and self._starts[place] < access.end


def _numbers(
    image: ProgramImage, memory: NDArray[np.uint8], commands: list[Command]
) -> list[NDArray[np.int64]]:
    """The rows of each gather: loads that reach into a list of one are executed."""
    lists = {_list_of(command) for command in commands if command.mnemonic == "gather"}
    if not lists:
        return []
    state = State(image.config)
    state.hbm = memory
    found = []
    for command in commands:
        if command.mnemonic == "gather":
            base, end = _list_of(command)
            found.append(state.sram[base:end].view(np.uint32).astype(np.int64))
        for access in footprint(image.config, command):
            reaches = any(access.base < end and base < access.end for base, end in lists)
            if not (access.write and access.space == "sram" and reaches):
                continue
            if command.mnemonic != "load":
                raise NeedsValues(f"instruction {command.pc} computes a list of rows")
            plan_command(state, command)[0]()
    return found


def _list_of(command: Command) -> tuple[int, int]:
    """First and last byte in SRAM, the latter not included."""
    f = command.named()
    return int(f["hplane"]), int(f["hplane"]) + INDEX_BYTES * int(f["rows"])
