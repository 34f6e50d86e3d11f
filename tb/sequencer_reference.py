"""What a sequencer must do with a program: the commands it issues, what it writes, how it ends."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.legal import fault_of
from isa.table import SEMAPHORE_MAX, Choice, Engine
from isa.traps import Cause, Fault
from rtl.decode import FORMATS
from rtl.dispatch import item_layout
from sim.errors import Trap
from sim.scalar import Command, ScalarMachine


@dataclass
class Expected:
    """`items`: (engine, mnemonic, payload) of each queue item in order; `end`: None after `halt`,
    else the fault and its instruction; `executed`: instructions of the sequencer; `operations`:
    its own operations on semaphores.
    """

    items: list[tuple[Engine, str, int]] = field(default_factory=list)
    end: tuple[Fault, int] | None = None
    executed: int = 0
    operations: int = 0
    patterns: list[tuple[str, int, int]] = field(default_factory=list)  # who, waits, signals


def expect(config: ChipConfig, code: bytes, memory: NDArray[np.uint8]) -> Expected:
    """Run `code` without engines; `memory` (all of HBM) gets what `st` writes."""
    machine, result = ScalarMachine(config, code), Expected()
    tokens: Counter[int] = Counter()
    try:
        for command in machine.run(memory):
            fault = _fault(config, command, memory.size // HBM_ATOM_BYTES, tokens)
            if fault:
                result.end = fault, command.pc
                break
            own = command.engine == Engine.SEQUENCER
            who = "sequencer" if own else "engine"
            result.patterns.append((who, len(command.waits), len(command.signals)))
            if own:
                result.operations += len(command.waits) + len(command.signals)
            else:
                result.items.append((command.engine, command.mnemonic, _payload(command)))
    except Trap as trap:
        result.end = trap.fault, trap.pc
    result.executed = machine.executed
    return result


def _fault(config: ChipConfig, command: Command, atoms: int, tokens: Counter[int]) -> Fault | None:
    """Illegal operands, then a wait for what is not signalled, then a signal too many."""
    if command.engine != Engine.SEQUENCER:
        found = fault_of(config, command.mnemonic, command.fields, atoms)
        if found:
            return found[0]
    for semaphore, count in command.waits:
        if tokens[semaphore] < count:
            return Fault(Cause.NOT_SIGNALLED, semaphore)
        tokens[semaphore] -= count
    for semaphore in command.signals:
        if tokens[semaphore] == SEMAPHORE_MAX:
            return Fault(Cause.SEMAPHORE_OVERFLOW, semaphore)
        tokens[semaphore] += 1
    return None


def _payload(command: Command) -> int:
    """The queue item, in the layout that dispatchers take."""
    values = {"opcode": command.op.spec.opcode}
    slots = command.op.spec.format.slots
    for (name, slot), value in zip(slots.items(), command.fields, strict=True):
        is_choice = isinstance(slot.field, Choice)
        values[name] = slot.field.values.index(value) if is_choice else value
    guards = {
        "waits": {i: {"semaphore": s, "count": n} for i, (s, n) in enumerate(command.waits)},
        "signals": {i: {"semaphore": s, "valid": 1} for i, s in enumerate(command.signals)},
    }
    layout = item_layout(FORMATS[command.engine])
    return layout.const({"guards": guards, "command": values}).as_value().value
