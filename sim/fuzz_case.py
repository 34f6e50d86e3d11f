"""One random program on both machines: everything that one can see must be alike."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isa.config import ChipConfig
from isa.image import ProgramImage
from isa.table import INSTRUCTION_BYTES
from sim.errors import SimulationError, Trap
from sim.functional import FunctionalCore
from sim.fuzz_maker import memory_of, random_bytes
from sim.rtl import RtlCore

_MOST_INSTRUCTIONS = 1 << 20  # of the sequencer: more would be a loop that does not end
_MOST_CYCLES = 1 << 24


@dataclass(frozen=True)
class Case:
    """A program and all that is in the chip before it. ``seed`` gives memory, SRAM, accumulators;
    ``config`` also the memory's speed."""

    config: ChipConfig
    code: bytes
    seed: int

    def memory(self) -> NDArray[np.uint8]:
        """HBM before the program."""
        return memory_of(self.code, self.seed)

    def sram(self) -> NDArray[np.uint8]:
        """The SRAM before the program."""
        return random_bytes(self.config.sram_bytes, self.seed + 1)

    def acc(self, dtype: np.dtype) -> NDArray:
        """The accumulators before the program."""
        shape = (self.config.acc_rows, self.config.cols)
        dice = np.random.default_rng(self.seed + 2)
        if self.config.element == "int8":
            return dice.integers(-(1 << 31), 1 << 31, shape).astype(np.int32).view(dtype)
        return dice.normal(0, 4, shape).astype(np.float32).view(dtype)


@dataclass(frozen=True)
class Outcome:
    """What a machine has done. ``end``: how it stopped, in words; ``counters`` only after `halt`:
    of a trap it is not defined how far the sequencer has run ahead."""

    end: str
    counters: dict[str, int] | None
    hbm: NDArray[np.uint8]
    sram: NDArray[np.uint8]
    acc: NDArray


def run_functional(case: Case) -> Outcome:
    """The case on the functional simulator."""
    core, hbm = FunctionalCore(case.config), case.memory()
    core.load(ProgramImage(case.config, case.code), hbm)
    core.sram[:], core.acc[:] = case.sram(), case.acc(core.acc.dtype)
    end, counters = "halt", None
    try:
        counters = core.run(_MOST_INSTRUCTIONS)
    except Trap as trap:
        end = _describe(trap)
    except SimulationError as error:
        end = f"error: {error}"
    return Outcome(end, counters, hbm, core.sram, core.acc)


def run_rtl(case: Case) -> Outcome:
    """The case on the verilated RTL, which is built if it does not exist."""
    core, hbm = RtlCore(case.config), case.memory()
    core.sram, core.acc = case.sram(), case.acc(core.acc.dtype)
    end, counters = "halt", None
    try:
        instructions = len(case.code) // INSTRUCTION_BYTES
        counters = core.run(hbm, 0, instructions, _MOST_CYCLES).counters
    except Trap as trap:
        end = _describe(trap)
    except (SimulationError, RuntimeError) as error:
        end = f"error: {error}"
    sram, acc = core.sram, core.acc
    core.close()
    return Outcome(end, counters, hbm, sram, acc)


def _describe(trap: Trap) -> str:
    return f"{trap.fault.cause.name} at instruction {trap.pc}, where {trap.fault.where}"


def difference(one: Outcome, other: Outcome) -> str | None:
    """The first thing in which ``other`` (the RTL) differs, None if nothing does."""
    if one.end != other.end:
        return f"the functional simulator ends with {one.end}, the RTL with {other.end}"
    if one.end.startswith("error"):
        return f"both end with {one.end}"
    for name in ("hbm", "sram", "acc"):
        left, right = (_words(getattr(outcome, name)) for outcome in (one, other))
        wrong = np.flatnonzero(left != right)
        if wrong.size:
            at, unit = int(wrong[0]), "accumulators" if name == "acc" else "bytes"
            return (
                f"{wrong.size} {unit} of {name} differ, the first at 0x{at:x}: "
                f"0x{left[at]:x}, in the RTL 0x{right[at]:x}"
            )
    if one.counters and other.counters:
        wrong_counts = {
            name: (value, other.counters[name])
            for name, value in one.counters.items()
            if value != other.counters[name]
        }
        if wrong_counts:
            return f"counters differ (functional, RTL): {wrong_counts}"
    return None


def _words(content: NDArray) -> NDArray:
    return (content.view(np.uint32) if content.dtype != np.uint8 else content).reshape(-1)


def compare(case: Case) -> str | None:
    """How the two machines differ in a case, None if they agree."""
    return difference(run_functional(case), run_rtl(case))
