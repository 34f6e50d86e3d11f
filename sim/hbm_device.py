"""One HBM pseudo-channel (PC) at its port, as a native library: contents, timing checker, counters.

The model is `hbm_device.h`, the rules are `hbm_checker.h`. The library is built with g++ where no
finished build of the same sources exists; that takes seconds.
"""

import ctypes
import dataclasses
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isa import hbm
from isa.hbm import BANKS, BEAT_BYTES, COLUMN_BYTES, COLUMNS, HbmGeneration, HbmTiming
from sim.builds import build_library

SOURCES = tuple(
    Path(__file__).with_name(name) for name in ("hbm_device.cpp", "hbm_device.h", "hbm_checker.h")
)
# Codes of the port.
ROW_COMMANDS = {"ACT": 1, "PRE": 2, "PREA": 3, "REFAB": 4, "REFPB": 5}
COLUMN_COMMANDS = {"RD": 1, "WR": 2}

_SIZES = ("BANK_GROUPS", "BANKS_PER_GROUP", "COLUMNS", "COLUMN_BYTES", "BEAT_BYTES")
_CYCLES = ("BURST_CYCLES", "ACT_CYCLES")


def build_device() -> Path:
    """The library, built unless it exists. Raises ValueError with the compiler's output."""
    sizes = (f"-D{name}={getattr(hbm, name)}" for name in (*_SIZES, *_CYCLES))
    return build_library("hbm/device", "the HBM device", SOURCES, "-O2", *sizes)


@cache
def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    handle, word, text = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_char_p
    signatures = {
        "timing_names": (text, ()),
        "counter_names": (text, ()),
        "window": (ctypes.c_int, ()),
        "create": (handle, (handle, word, handle)),
        "destroy": (None, (handle,)),
        "tick": (None, (handle, *[word] * 6, text, word, text)),
        "run": (None, (handle, handle, ctypes.c_uint64)),
        "violation": (text, (handle,)),
        "counters": (None, (handle, handle)),
        "cycle": (ctypes.c_int64, (handle,)),
        "read_data": (None, (handle, text)),
        "inject": (None, (handle, *[word] * 4, ctypes.c_int)),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, f"jx_hbm_{name}")
        function.restype, function.argtypes = result, arguments
    return library


class HbmDevice:
    """A PC of ``generation`` after its reset: cycle 0, all banks closed.

    ``memory``: its contents, ``generation.bytes`` bytes that are used in place; the column at
    (bank, row, column) is at ``((bank * rows + row) * COLUMNS + column) * COLUMN_BYTES``.
    """

    def __init__(self, generation: HbmGeneration, memory: NDArray[np.uint8]) -> None:
        _check_memory(generation, memory)
        self._library = _load(build_device())
        timing = _timing(self._library, generation.timing)
        self._generation, self._memory = generation, memory  # memory: kept as long as it is used
        self._read = ctypes.create_string_buffer(BEAT_BYTES)
        address = memory.ctypes.data
        create = self._library.jx_hbm_create
        self._device = ctypes.c_void_p(create(timing.ctypes.data, generation.rows, address))

    def __del__(self) -> None:
        if hasattr(self, "_device"):
            self._library.jx_hbm_destroy(self._device)

    def tick(
        self,
        row_cmd: int = 0,
        row_bank: int = 0,
        row_addr: int = 0,
        col_cmd: int = 0,
        col_bank: int = 0,
        col_addr: int = 0,
        wdata: int = 0,
        wmask: int = 0,
    ) -> int:
        """End the present cycle, in which these are on the port; returns the next one's rdata.

        Data are 16 bytes, the first in the lowest bits; bit i of ``wmask`` is byte i.
        """
        data = wdata.to_bytes(BEAT_BYTES, "little")
        self._library.jx_hbm_tick(
            self._device,
            *(row_cmd, row_bank, row_addr, col_cmd, col_bank, col_addr),
            *(data, wmask, self._read),
        )
        return int.from_bytes(self._read.raw, "little")

    def run(self, commands: NDArray[np.int64]) -> None:
        """Give many commands: (n, 7) int64, a row for each cycle in which there are any.

        Columns: cycle (rising, from the present one), then the first six arguments of `tick`.
        Writes no data. Ends behind the last row, or behind the row that broke a rule.
        """
        if commands.dtype != np.int64 or commands.ndim != 2 or commands.shape[1] != 7:
            given = f"{commands.dtype} {commands.shape}"
            raise ValueError(f"commands must be int64 (n, 7), not {given}")
        cycles = commands[:, 0]
        if not (np.diff(cycles, prepend=self.cycle - 1) > 0).all():
            raise ValueError(f"commands must have rising cycles from {self.cycle} on")
        fields = commands[:, 1:]
        if fields.size and not 0 <= fields.min() <= fields.max() < 1 << 32:
            raise ValueError("commands and addresses must be unsigned numbers of 32 bits")
        rows = np.ascontiguousarray(commands)
        self._library.jx_hbm_run(self._device, rows.ctypes.data, len(rows))

    def inject(self, bank: int, row: int, column: int, bit: int, stuck: bool = False) -> None:
        """Read ``bit`` (of 256) of a column wrong: the next time or, if ``stuck``, every time.

        The contents stay as they are.
        """
        limits = {"bank": BANKS, "row": self._generation.rows, "column": COLUMNS}
        limits["bit"] = 8 * COLUMN_BYTES
        for (name, limit), value in zip(limits.items(), (bank, row, column, bit), strict=True):
            if not 0 <= value < limit:
                raise ValueError(f"{name} must be between 0 and {limit - 1}, not {value}")
        self._library.jx_hbm_inject(self._device, bank, row, column, bit, stuck)

    @property
    def cycle(self) -> int:
        """The present one: how many have ended."""
        return self._library.jx_hbm_cycle(self._device)

    @property
    def rdata(self) -> int:
        """What the device drives in the present cycle; noise where no data are due."""
        self._library.jx_hbm_read_data(self._device, self._read)
        return int.from_bytes(self._read.raw, "little")

    @property
    def violation(self) -> str | None:
        """The first rule that was broken, and by what, in one line."""
        return self._library.jx_hbm_violation(self._device).decode() or None

    @property
    def counters(self) -> dict[str, int]:
        """Commands by kind, ``row_hits``, ``data_cycles``, ``turnarounds``; see hbm_device.h."""
        names = self._library.jx_hbm_counter_names().decode().split()
        values = np.empty(len(names), np.uint64)
        self._library.jx_hbm_counters(self._device, values.ctypes.data)
        return dict(zip(names, values.tolist(), strict=True))


def _check_memory(generation: HbmGeneration, memory: NDArray[np.uint8]) -> None:
    size = generation.bytes
    if memory.dtype != np.uint8 or memory.shape != (size,) or not memory.flags.c_contiguous:
        given = f"{memory.dtype} {memory.shape}"
        raise ValueError(f"memory must be a contiguous vector of {size} uint8, not {given}")
    if not memory.flags.writeable:
        raise ValueError("memory must be writeable")


def _timing(library: ctypes.CDLL, timing: HbmTiming) -> NDArray[np.int32]:
    """The parameters in the library's order; ValueError for latencies beyond its window."""
    names = library.jx_hbm_timing_names().decode().split()
    values = dataclasses.asdict(timing)
    assert set(names) == set(values)
    most = library.jx_hbm_window() - hbm.BURST_CYCLES
    for field in ("cl", "cwl"):
        if values[field] > most:
            raise ValueError(f"{field} must be at most {most} here, not {values[field]}")
    return np.array([values[name] for name in names], np.int32)
