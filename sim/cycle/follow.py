"""Traces without values: what a program executes, where no computed number decides it.

The sequencer's instructions are executed, of the engines' commands only the loads that bring lists
of rows for `gather`. So a trace costs what its instructions cost, however large their tensors are.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from isa.config import HBM_ATOM_BYTES
from isa.image import ProgramImage
from sim.cycle.lists import Lists, NeedsValues
from sim.cycle.stored import Stored
from sim.cycle.trace import Trace, make_trace, record
from sim.footprint import Access, footprint
from sim.functional import FunctionalCore
from sim.repeats import Repeat, find_repeats
from sim.scalar import Command, ScalarMachine

_FOLLOWED = 3  # iterations of a loop over layers, and its last one


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
        commands, numbers = _followed(image, machine.run(memory), memory, overwritten, loops)
        trace = make_trace(image, machine, commands, numbers)
        return replace(trace, repeats=tuple(loops.folded))
    finally:
        for address, word in reversed(overwritten):  # a copy of memory might be too large
            memory[address : address + len(word)] = word


def _followed(
    image: ProgramImage,
    run: Iterator[Command],
    memory: NDArray[np.uint8],
    overwritten: list[tuple[int, NDArray[np.uint8]]],
    loops: "_Loops",
) -> tuple[list[Command], list[NDArray[np.int64]]]:
    """The commands of a run and its `gather`s' rows, unless an `ld` or such a list reads what an
    engine has stored; notes what `st` overwrites."""
    stored, lists = Stored(), Lists(image.config, memory)
    commands, numbers = list[Command](), list[NDArray[np.int64]]()
    for command in run:
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
        elif command.mnemonic == "gather":
            numbers.append(lists.rows(command, commands, stored))
        commands.append(command)
        if command.mnemonic == "sync":
            stored.add(loops.pass_by(command.pc))
    return commands, numbers


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
