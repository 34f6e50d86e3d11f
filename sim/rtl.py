"""The RTL as a back end: the verilated core with a simple memory, driven from Python."""

import ctypes
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isa.config import ChipConfig
from isa.counters import COUNTERS
from sim.build_rtl import build_model
from sim.errors import SimulationError, Trap

_STATUS = ("halted", "trap", "timeout", "fault", "stuck")


class _Result(ctypes.Structure):
    _fields_ = [
        ("cycles", ctypes.c_uint64),
        ("conflicts", ctypes.c_uint64),
        ("fault_address", ctypes.c_uint64),
        ("status", ctypes.c_uint32),
        ("trap_pc", ctypes.c_uint32),
        ("counters", ctypes.c_uint32 * len(COUNTERS)),
    ]


@dataclass(frozen=True)
class RunResult:
    """One run of a program to its `halt`.

    ``counters`` as in isa.counters; ``conflicts``: cycles in which the SRAM refused a client.
    """

    cycles: int
    conflicts: int
    counters: dict[str, int]


class RtlCore:
    """One chip. SRAM and accumulators keep their content from run to run; each starts with a reset.

    The first object of a configuration builds the model, which takes a minute or more; later ones
    find it. With ``trace`` a slower model writes a VCD there. Time per run: 2 resets of a cycle,
    then one call for all cycles.
    """

    def __init__(self, config: ChipConfig, trace: str | Path | None = None) -> None:
        self.config = config
        self._library = ctypes.CDLL(str(build_model(config, trace is not None)))
        self._library.jx_create.restype = ctypes.c_void_p
        path = str(trace or "").encode()
        self._model = ctypes.c_void_p(self._library.jx_create(path))

    def close(self) -> None:
        """Free the model and finish its trace; the object can't be used after that."""
        if self._model:
            self._library.jx_destroy(self._model)
            self._model = ctypes.c_void_p()

    def __del__(self) -> None:
        if hasattr(self, "_model"):
            self.close()

    def run(
        self, hbm: NDArray[np.uint8], code_base_atoms: int, max_cycles: int = 1 << 40
    ) -> RunResult:
        """Run the program that starts at ``code_base_atoms``; ``hbm`` changes in place.

        Raises Trap for an illegal instruction, SimulationError for an access outside ``hbm``, for a
        deadlock (all counters stand still for 131072 cycles), and when ``max_cycles`` pass without
        a `halt`. Memory keeps what was done until then.
        """
        if hbm.dtype != np.uint8 or hbm.ndim != 1 or not hbm.flags.c_contiguous:
            given = f"{hbm.dtype} {hbm.shape}"
            raise ValueError(f"hbm must be a contiguous vector of uint8, not {given}")
        if not hbm.flags.writeable:
            raise ValueError("hbm must be writeable")
        result = _Result()
        self._library.jx_run(
            self._model,
            ctypes.c_void_p(hbm.ctypes.data),
            ctypes.c_uint64(hbm.size),
            ctypes.c_uint32(code_base_atoms),
            ctypes.c_uint64(max_cycles),
            ctypes.c_uint32(self.config.memory_latency_cycles),
            ctypes.c_uint32(self.config.bandwidth_bytes_per_cycle),
            ctypes.byref(result),
        )
        _check(result, hbm.size, max_cycles)
        counters = dict(zip(COUNTERS, result.counters, strict=True))
        return RunResult(result.cycles, result.conflicts, counters)

    @property
    def sram(self) -> NDArray[np.uint8]:
        """A copy of the SRAM; assigning to the property writes it."""
        content = np.empty(self.config.sram_bytes, np.uint8)
        self._library.jx_copy_sram(self._model, ctypes.c_void_p(content.ctypes.data), 0)
        return content

    @sram.setter
    def sram(self, content: NDArray[np.uint8]) -> None:
        data = _matching("sram", content, np.dtype(np.uint8), (self.config.sram_bytes,))
        self._library.jx_copy_sram(self._model, ctypes.c_void_p(data.ctypes.data), 1)

    @property
    def acc(self) -> NDArray[np.float32]:
        """A copy of the accumulators (acc_rows, C); assigning to the property writes them."""
        content = np.empty((self.config.acc_rows, self.config.cols), np.float32)
        self._library.jx_copy_acc(self._model, ctypes.c_void_p(content.ctypes.data), 0)
        return content

    @acc.setter
    def acc(self, content: NDArray[np.float32]) -> None:
        shape = (self.config.acc_rows, self.config.cols)
        data = _matching("acc", content, np.dtype(np.float32), shape)
        self._library.jx_copy_acc(self._model, ctypes.c_void_p(data.ctypes.data), 1)


def _matching(name: str, content: NDArray, dtype: np.dtype, shape: tuple[int, ...]) -> NDArray:
    if content.dtype != dtype or content.shape != shape:
        raise ValueError(f"{name} must be {dtype} {shape}, not {content.dtype} {content.shape}")
    return np.ascontiguousarray(content)


def _check(result: _Result, hbm_bytes: int, max_cycles: int) -> None:
    status = _STATUS[result.status]
    if status == "trap":
        raise Trap(f"instruction {result.trap_pc}: illegal opcode")
    if status == "fault":
        raise SimulationError(
            f"the program reads or writes HBM at 0x{result.fault_address:x}, behind the memory's "
            f"0x{hbm_bytes:x} bytes"
        )
    if status == "stuck":
        counts = ", ".join(f"{n} {v}" for n, v in zip(COUNTERS, result.counters, strict=True) if v)
        raise SimulationError(f"deadlock: nothing has moved for 131072 cycles (counters: {counts})")
    if status == "timeout":
        raise SimulationError(f"the program has not halted after {max_cycles} cycles")
