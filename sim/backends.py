"""The machines that run program images, behind one interface."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from isa.image import ProgramImage
from isa.table import INSTRUCTION_BYTES
from sim.functional import FunctionalCore

NAMES = ("functional", "rtl", "cycle")


@dataclass(frozen=True)
class Run:
    """What one run counted; without ``cycles``, ``classes`` (engine → class → cycles) and ``hbm``
    (counters of its controllers) where the back end has no notion of time."""

    counters: dict[str, int]
    cycles: int = 0
    classes: dict[str, dict[str, int]] = field(default_factory=dict)
    hbm: dict[str, int] = field(default_factory=dict)


class Backend(Protocol):
    """A chip with a loaded program. SRAM and accumulators keep their content from run to run."""

    name: str

    def load(self, image: ProgramImage, hbm: NDArray[np.uint8]) -> None:
        """Take a program; ``hbm`` (uint8, all of it) is its memory, changed in place by `run`."""

    def run(self) -> Run:
        """Run the program to its `halt`; raises SimulationError."""

    @property
    def sram(self) -> NDArray[np.uint8]:
        """The SRAM's content."""

    @property
    def acc(self) -> NDArray[np.float32]:
        """The accumulators, (acc_rows, C)."""


class FunctionalBackend:
    """The functional simulator."""

    name = "functional"

    def load(self, image: ProgramImage, hbm: NDArray[np.uint8]) -> None:
        self._core = FunctionalCore(image.config)
        self._core.load(image, hbm)

    def run(self) -> Run:
        return Run(self._core.run())

    @property
    def sram(self) -> NDArray[np.uint8]:
        return self._core.sram

    @property
    def acc(self) -> NDArray[np.float32]:
        return self._core.acc


class RtlBackend:
    """The verilated RTL; building it takes a while the first time for each configuration."""

    name = "rtl"

    def __init__(self, trace: Path | None = None) -> None:
        self._trace = trace  # a VCD file to write; needs a slower build

    def load(self, image: ProgramImage, hbm: NDArray[np.uint8]) -> None:
        from sim.rtl import RtlCore  # needs a compiler and a built model

        self._core = RtlCore(image.config, self._trace)
        self._hbm, self._code_base = hbm, image.code_base
        self._code_count = len(image.code) // INSTRUCTION_BYTES

    def run(self) -> Run:
        result = self._core.run(self._hbm, self._code_base, self._code_count)
        return Run(result.counters, result.cycles, result.classes, result.hbm)

    @property
    def sram(self) -> NDArray[np.uint8]:
        return self._core.sram

    @property
    def acc(self) -> NDArray[np.float32]:
        return self._core.acc


class CycleBackend(FunctionalBackend):
    """The functional simulator's values in the time of the cycle model, which needs no RTL. What it
    does not count of the HBM is left out of `Run.hbm`."""

    name = "cycle"

    def load(self, image: ProgramImage, hbm: NDArray[np.uint8]) -> None:
        super().load(image, hbm)
        self._image = image

    def run(self) -> Run:
        from sim.cycle.model import run_trace  # needs a compiler
        from sim.cycle.trace import record

        trace = record(self._image, self._core)
        found = run_trace(trace, self._image.config)
        return Run(found.counters, found.cycles, found.classes, found.hbm)


def make_backend(name: str, trace: Path | None = None) -> Backend:
    """The back end of that name, one of NAMES; the RTL can write a waveform to ``trace``."""
    if name not in NAMES:
        raise ValueError(f"back end must be one of {', '.join(NAMES)}, not {name!r}")
    if name == "rtl":
        return RtlBackend(trace)
    if trace is not None:
        raise ValueError("--trace needs --backend rtl: the others have no signals")
    return CycleBackend() if name == "cycle" else FunctionalBackend()
