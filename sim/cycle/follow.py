"""Traces without values: what a program executes, where no computed number decides it.

The sequencer's instructions are executed, of the engines' commands only the loads that bring lists
of rows for `gather`. So a trace costs what its instructions cost, however large their tensors are.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from isa.image import ProgramImage
from isa.rules import INDEX_BYTES
from sim.cycle.trace import Trace, make_trace, record
from sim.footprint import Access, footprint
from sim.functional import FunctionalCore, plan_command
from sim.scalar import Command, ScalarMachine
from sim.state import State


class NeedsValues(Exception):
    """What the program executes depends on what its engines compute; says which instruction."""


def trace_launch(image: ProgramImage, memory: NDArray[np.uint8]) -> Trace:
    """The trace of a run on ``memory``, with the functional simulator's values if they are needed:
    then memory changes. Raises as that simulator does."""
    try:
        return follow(image, memory)
    except NeedsValues:
        core = FunctionalCore(image.config)
        core.load(image, memory)
        return record(image, core)


def follow(image: ProgramImage, memory: NDArray[np.uint8]) -> Trace:
    """The trace of a run; ``memory`` is in the end as it was. Raises NeedsValues, and Trap for what
    the sequencer itself refuses."""
    machine = ScalarMachine(image.config, image.code)
    machine.path = []
    overwritten: list[tuple[int, NDArray[np.uint8]]] = []
    try:
        commands = list(_checked(image, machine.run(memory), memory, overwritten))
        return make_trace(image, machine, commands, _numbers(image, memory, commands))
    finally:
        for address, word in reversed(overwritten):  # a copy of memory might be too large
            memory[address : address + len(word)] = word


def _checked(
    image: ProgramImage,
    commands: Iterator[Command],
    memory: NDArray[np.uint8],
    overwritten: list[tuple[int, NDArray[np.uint8]]],
) -> Iterator[Command]:
    """The same, unless an `ld` reads what an engine has stored; notes what `st` overwrites."""
    stored: list[Access] = []
    for command in commands:
        if command.mnemonic == "store":
            stored += [a for a in footprint(image.config, command) if a.write]
        elif command.mnemonic == "ld":
            (word,) = footprint(image.config, command)
            if any(_meets(access, word) for access in stored):
                raise NeedsValues(f"instruction {command.pc} (ld) reads what a store has written")
        elif command.mnemonic == "st":
            (word,) = footprint(image.config, command)
            overwritten.append((word.base, memory[word.base : word.end].copy()))
        yield command


def _meets(one: Access, other: Access) -> bool:
    return one.base < other.end and other.base < one.end


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
