"""Functional simulator: executes programs in program order, with bit-exact values.

What it leaves out: time, and with it hazards. An instruction sees all effects of those before it in
the program, so a missing semaphore goes unnoticed; the static checker and the RTL find those.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.counters import COUNTERS
from isa.image import ProgramImage, require_config
from isa.legal import fault_of
from isa.table import SEMAPHORE_MAX, SEMAPHORES, Engine
from isa.traps import Cause, Fault
from sim.dma import BusError, plan_dma
from sim.matrix import plan_matmul
from sim.scalar import Command, ScalarMachine
from sim.state import State
from sim.vector import plan_vector

Plan = tuple[Callable[[], None], int]  # the action, and what it adds to the engine's own counter
_OWN_COUNTER = {
    Engine.LOAD: "load_lines",
    Engine.STORE: "store_lines",
    Engine.MATRIX: "matrix_rows",
    Engine.VECTOR: "vector_vectors",
}
_NOPS = frozenset({"lnop", "snop", "mnop", "vnop"})
_PLANS_KEPT = 1 << 16  # more would be programs whose addresses never repeat
_COUNTER_MASK = (1 << 32) - 1


def _nothing() -> None:
    """What a nop does."""


def plan_command(state: State, command: Command) -> Plan:
    """Translate an engine's command, which must be legal (`isa.legal`)."""
    if command.mnemonic in _NOPS:
        return _nothing, 0
    if command.engine == Engine.MATRIX:
        return plan_matmul(state, command)
    if command.engine == Engine.VECTOR:
        return plan_vector(state, command)
    return plan_dma(state, command)


class FunctionalCore:
    """One chip. SRAM and accumulators keep their content from run to run, as in silicon.

    Usage: ``load(image)``, then any number of `run`. ``hbm``, ``sram`` (uint8) and ``acc``
    (acc_rows, C) float32 (int8 arrays: int32) may be read and, in place, written between runs. An
    instruction is translated once into NumPy views and a function (its plan), which later
    executions with the same operands reuse.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        self.state = State(config)
        self.machine = ScalarMachine(config, b"")
        self.semaphores = [0] * SEMAPHORES
        self._plans: dict[tuple[str, tuple], Plan] = {}

    @property
    def hbm(self) -> NDArray[np.uint8]:
        return self.state.hbm

    @property
    def sram(self) -> NDArray[np.uint8]:
        return self.state.sram

    @property
    def acc(self) -> NDArray:
        return self.state.acc

    def load(self, image: ProgramImage, hbm: NDArray[np.uint8] | None = None) -> None:
        """Take a program, and ``hbm`` as memory (by default a fresh one with the image's content).

        Raises ImageError if the image was made for another configuration.
        """
        require_config(image, self.config)
        self.state.hbm = image.memory() if hbm is None else hbm
        self.machine = ScalarMachine(self.config, image.code)
        self._plans.clear()

    def run(self, max_instructions: int = 1 << 40) -> dict[str, int]:
        """Run the program to its `halt`; returns this run's counters (see isa.counters).

        Raises Trap for an illegal instruction; memory then holds what the instructions before have
        done. Raises SimulationError after ``max_instructions`` of the sequencer.
        """
        self.semaphores = [0] * SEMAPHORES
        instructions = [0] * len(Engine)
        amounts = [0] * len(Engine)
        plans = self._plans
        with np.errstate(all="ignore"):
            for command in self.machine.run(self.state.hbm, max_instructions):
                _, mnemonic, engine, fields, waits, signals, _ = command
                plan = plans.get((mnemonic, fields)) or self._plan(command) if engine else None
                if waits or signals:
                    self._synchronise(command)
                if plan:
                    try:
                        plan[0]()
                    except BusError:
                        raise self.machine.trap(command.pc, Fault(Cause.BUS_ERROR)) from None
                    instructions[engine] += 1
                    amounts[engine] += plan[1]
        instructions[Engine.SEQUENCER] = self.machine.executed
        return _counters(instructions, amounts)

    def _plan(self, command: Command) -> Plan:
        atoms = self.state.hbm.size // HBM_ATOM_BYTES
        found = fault_of(self.config, command.mnemonic, command.fields, atoms)
        if found:
            raise self.machine.trap(command.pc, *found)
        plan = plan_command(self.state, command)
        if len(self._plans) >= _PLANS_KEPT:
            self._plans.clear()
        self._plans[command.mnemonic, command.fields] = plan
        return plan

    def _synchronise(self, command: Command) -> None:
        """Wait and signal in program order: what has not been signalled by now never will be."""
        for semaphore, count in command.waits:
            have = self.semaphores[semaphore]
            if have < count:
                fault = Fault(Cause.NOT_SIGNALLED, semaphore)
                raise self.machine.trap(command.pc, fault, f" ({count} wanted, {have} left)")
            self.semaphores[semaphore] = have - count
        for semaphore in command.signals:
            self.semaphores[semaphore] += 1
            if self.semaphores[semaphore] > SEMAPHORE_MAX:
                raise self.machine.trap(command.pc, Fault(Cause.SEMAPHORE_OVERFLOW, semaphore))


def _counters(instructions: list[int], amounts: list[int]) -> dict[str, int]:
    counts = {
        f"{engine.name.lower()}_instructions": instructions[engine] & _COUNTER_MASK
        for engine in Engine
    }
    for engine, name in _OWN_COUNTER.items():
        counts[name] = amounts[engine] & _COUNTER_MASK
    return {name: counts[name] for name in COUNTERS}
