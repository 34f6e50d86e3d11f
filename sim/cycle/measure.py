"""The same run on the RTL and on the cycle model."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isa.config import ChipConfig
from isa.image import ProgramImage
from isa.table import INSTRUCTION_BYTES
from sim.cycle.estimate import Estimate, estimate, is_long
from sim.cycle.follow import trace_launch
from sim.cycle.model import CycleResult, run_trace
from sim.cycle.record import Record
from sim.cycle.trace import Trace, record
from sim.functional import FunctionalCore
from sim.fuzz_case import Case
from sim.rtl import RtlCore, RunResult

_MOST_CYCLES = 1 << 32


@dataclass(frozen=True)
class Situation:
    """A program and what is in the chip before it: ``hbm``, all of its memory; SRAM and
    accumulators, which are 0 where they are None. None of it changes."""

    image: ProgramImage
    hbm: NDArray[np.uint8]
    sram: NDArray[np.uint8] | None = None
    acc: NDArray | None = None

    @classmethod
    def of_case(cls, case: Case) -> "Situation":
        """That of a random program."""
        core = FunctionalCore(case.config)
        image = ProgramImage(case.config, case.code)
        return cls(image, case.memory(), case.sram(), case.acc(core.acc.dtype))


def trace_of(situation: Situation) -> Trace:
    """What the functional simulator executes. Raises as that does."""
    core = FunctionalCore(situation.image.config)
    core.load(situation.image, situation.hbm.copy())
    if situation.sram is not None:
        core.sram[:] = situation.sram
    if situation.acc is not None:
        core.acc[:] = situation.acc
    return record(situation.image, core)


def on_model(situation: Situation, most_cycles: int = _MOST_CYCLES) -> CycleResult:
    """Time on the cycle model; SimulationError if it takes more than ``most_cycles``."""
    return run_trace(trace_of(situation), situation.image.config, most_cycles)


def trace_to_time(image: ProgramImage, hbm: NDArray[np.uint8], exact: bool = False) -> Trace:
    """The trace of a run on ``hbm``, all of memory, for `time_trace`: of a long one the loops over
    layers are folded, unless ``exact``. Raises as `trace_launch`."""
    if not exact:
        trace = trace_launch(image, hbm, fold=True)
        if not trace.repeats or is_long(trace, image.config):
            return trace
    return trace_launch(image, hbm)


def time_trace(
    trace: Trace, config: ChipConfig, exact: bool = False, record: Record | None = None
) -> CycleResult | Estimate:
    """Time of a run on ``config``, the chip of the trace with any memory: of a long one an
    estimate, unless ``exact``. ``record`` is filled if the run is exact. Raises as `run_trace`."""
    if not exact and is_long(trace, config):
        return estimate(trace, config)
    return run_trace(trace, config, record=record)


def on_rtl(situation: Situation, record: Record | None = None) -> RunResult:
    """Time on the RTL, which is built if need be; ``record``, one of its trace, is filled."""
    image = situation.image
    core = RtlCore(image.config)
    core.sram = np.zeros_like(core.sram) if situation.sram is None else situation.sram
    core.acc = np.zeros_like(core.acc) if situation.acc is None else situation.acc
    count = len(image.code) // INSTRUCTION_BYTES
    result = core.run(situation.hbm.copy(), image.code_base, count, _MOST_CYCLES, record=record)
    core.close()
    return result
