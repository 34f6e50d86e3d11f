"""The RTL as a back end: the verilated core and its memory, driven from Python."""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.counters import (
    COUNTER_BITS,
    COUNTERS,
    CYCLE_CLASSES,
    HBM_COUNTERS,
    HBM_LATENCIES,
)
from isa.hbm import COLUMN_BYTES
from isa.secded import CHECK_BITS, WORD_BYTES
from isa.table import INSTRUCTION_BYTES, Engine
from isa.traps import Cause, Fault
from sim.build_rtl import build_model
from sim.cycle.record import Record, TimesPointers
from sim.errors import SimulationError, Trap

_ERROR_BYTES = 512
_STATUS = ("halted", "trapped", "timeout")


class _Program(ctypes.Structure):
    _fields_ = [
        ("code_base", ctypes.c_uint32),
        ("code_count", ctypes.c_uint32),
        ("latency", ctypes.c_uint32),
        ("rate", ctypes.c_uint32),
        ("max_cycles", ctypes.c_uint64),
        ("faults", ctypes.c_void_p),
        ("fault_count", ctypes.c_uint64),
        ("times", TimesPointers),
    ]


class _Result(ctypes.Structure):
    _fields_ = [
        ("cycles", ctypes.c_uint64),
        ("conflicts", ctypes.c_uint64),
        ("status", ctypes.c_uint32),
        ("trap_cause", ctypes.c_uint32),
        ("trap_pc", ctypes.c_uint32),
        ("trap_where", ctypes.c_uint32),
        ("trap_atom", ctypes.c_uint32),
        ("counters", ctypes.c_uint32 * len(COUNTERS)),
        ("classes", ctypes.c_uint32 * (len(Engine) * len(CYCLE_CLASSES))),
        ("hbm", ctypes.c_uint32 * (len(HBM_COUNTERS) + len(HBM_LATENCIES))),
        ("error", ctypes.c_char * _ERROR_BYTES),
    ]


@dataclass(frozen=True)
class RunResult:
    """One run of a program to its `halt`.

    ``counters`` as in isa.counters; ``conflicts``: cycles in which the SRAM refused a client;
    ``classes``: engine → isa.counters.CYCLE_CLASSES → cycles, which add up to ``cycles``;
    ``hbm``: isa.counters.HBM_COUNTERS and HBM_LATENCIES, nothing with the simple memory.
    """

    cycles: int
    conflicts: int
    counters: dict[str, int]
    classes: dict[str, dict[str, int]]
    hbm: dict[str, int]


@dataclass(frozen=True)
class HbmFault:
    """A bit of the HBM that is read wrong: the next time, or each time if it is ``stuck``.

    ``bit``: of the byte ``address`` 0 to 7; 8 + i is check bit i of the 8-byte word that it is in.
    """

    address: int
    bit: int
    stuck: bool = False


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
        self,
        hbm: NDArray[np.uint8],
        code_base_atoms: int,
        code_count: int,
        max_cycles: int = 1 << 40,
        faults: Sequence[HbmFault] = (),
        record: Record | None = None,
    ) -> RunResult:
        """Run the ``code_count`` instructions at ``code_base_atoms``; ``hbm``, all the memory that
        the program may touch, changes in place. ``faults`` are those of the HBM in this run;
        ``record``, one of its trace, is filled.

        Raises Trap as the functional simulator does, and for what only hardware can see: a
        deadlock, an error of the memory. Raises SimulationError when ``max_cycles`` pass without a
        `halt`, and when an HBM controller violates the timing of its device. Memory keeps what was
        done until then.
        """
        _check_memory(hbm, max(HBM_ATOM_BYTES, self.config.axi_bytes))
        result, places = _Result(), _places(self.config, faults)
        program = _Program(
            code_base_atoms,
            code_count,
            self.config.memory_latency_cycles,
            self.config.bandwidth_bytes_per_cycle,
            max_cycles,
            places.ctypes.data,
            len(places),
            record.pointers() if record else TimesPointers(),
        )
        self._library.jx_run(
            self._model,
            ctypes.c_void_p(hbm.ctypes.data),
            ctypes.c_uint64(hbm.size),
            ctypes.byref(program),
            ctypes.byref(result),
        )
        if result.error:
            raise SimulationError(result.error.decode())
        classes = _classes(result)
        status = _STATUS[result.status]
        if status == "trapped":
            raise _trap(result, hbm, program)
        if status == "timeout":
            raise SimulationError(f"the program has not halted after {max_cycles} cycles")
        counters = dict(zip(COUNTERS, result.counters, strict=True))
        of_hbm = zip((*HBM_COUNTERS, *HBM_LATENCIES), result.hbm, strict=True)
        return RunResult(
            result.cycles,
            result.conflicts,
            counters,
            classes,
            dict(of_hbm) if self.config.hbm else {},
        )

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

    def flip_sram(self, address: int, bit: int) -> None:
        """Turn bit ``bit`` of the byte at ``address`` over, and nothing that protects it."""
        if not (0 <= address < self.config.sram_bytes and 0 <= bit < 8):
            raise ValueError(f"address and bit must lie in the SRAM, not {address:#x}, {bit}")
        self._library.jx_flip_sram(self._model, address, bit)

    @property
    def acc(self) -> NDArray:
        """A copy of the accumulators (acc_rows, C), float32, of int8 arrays int32; assigning to the
        property writes them."""
        content = np.empty((self.config.acc_rows, self.config.cols), self._acc_dtype)
        self._library.jx_copy_acc(self._model, ctypes.c_void_p(content.ctypes.data), 0)
        return content

    @acc.setter
    def acc(self, content: NDArray) -> None:
        shape = (self.config.acc_rows, self.config.cols)
        data = _matching("acc", content, self._acc_dtype, shape)
        self._library.jx_copy_acc(self._model, ctypes.c_void_p(data.ctypes.data), 1)

    @property
    def _acc_dtype(self) -> np.dtype:
        return np.dtype(np.int32 if self.config.element == "int8" else np.float32)


def _matching(name: str, content: NDArray, dtype: np.dtype, shape: tuple[int, ...]) -> NDArray:
    if content.dtype != dtype or content.shape != shape:
        raise ValueError(f"{name} must be {dtype} {shape}, not {content.dtype} {content.shape}")
    return np.ascontiguousarray(content)


def _places(config: ChipConfig, faults: Sequence[HbmFault]) -> NDArray[np.uint32]:
    """Faults as the harness takes them: (n, 6)."""
    rows = []
    for fault in faults:
        if not config.hbm:
            raise ValueError("faults need a configuration with HBM")
        if not 0 <= fault.bit < 16:
            raise ValueError(f"the bit of a fault must be between 0 and 15, not {fault.bit}")
        place = config.hbm_mapping.locate(fault.address)
        check = 8 * COLUMN_BYTES + CHECK_BITS * (place.byte // WORD_BYTES) + fault.bit - 8
        bit = 8 * place.byte + fault.bit if fault.bit < 8 else check
        where = (place.channel, place.bank_index, place.row, place.column)
        rows.append((*where, bit, fault.stuck))
    return np.array(rows, np.uint32).reshape(-1, 6)


def _check_memory(hbm: NDArray[np.uint8], unit: int) -> None:
    if hbm.dtype != np.uint8 or hbm.ndim != 1 or not hbm.flags.c_contiguous:
        given = f"{hbm.dtype} {hbm.shape}"
        raise ValueError(f"hbm must be a contiguous vector of uint8, not {given}")
    if not hbm.flags.writeable:
        raise ValueError("hbm must be writeable")
    if hbm.size % unit:
        raise ValueError(f"hbm must be a multiple of {unit} bytes, not {hbm.size}")


def _classes(result: _Result) -> dict[str, dict[str, int]]:
    """Cycles of each engine by class; RuntimeError unless each cycle is in exactly one of them."""
    counts = iter(result.classes)
    classes = {e.name.lower(): {name: next(counts) for name in CYCLE_CLASSES} for e in Engine}
    for engine, of_engine in classes.items():
        if (sum(of_engine.values()) - result.cycles) % (1 << COUNTER_BITS):
            raise RuntimeError(
                f"cycle classes of the {engine} must add up to {result.cycles}, not {of_engine}"
            )
    return classes


def _trap(result: _Result, hbm: NDArray[np.uint8], program: _Program) -> Trap:
    """The exception for a trap, with the instruction's word where there is one."""
    word = None
    if result.trap_pc < program.code_count:
        start = program.code_base * HBM_ATOM_BYTES + result.trap_pc * INSTRUCTION_BYTES
        word = hbm[start : start + INSTRUCTION_BYTES].tobytes() or None
    fault = Fault(Cause(result.trap_cause), result.trap_where)
    located = fault.cause in (Cause.BUS_ERROR, Cause.SRAM_ERROR)
    at = f" at 0x{result.trap_atom * HBM_ATOM_BYTES:x}" if located else ""
    return Trap(fault, result.trap_pc, word, at)
