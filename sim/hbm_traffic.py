"""Traffic on one HBM controller in RTL, the device model with its timing checker behind it."""

import ctypes
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa.counters import HBM_COUNTERS
from isa.hbm import HbmTiming
from isa.hbm_map import HbmMap
from sim.builds import build_root, digest, locked
from sim.errors import SimulationError
from sim.hbm_layout import HEADERS, address_layout
from sim.native import NativeModel, build_library

HARNESS = Path(__file__).with_name("hbm_traffic.cpp")
TOP = "HbmController"
REQUEST = np.dtype(
    [
        ("address", np.uint64),  # bytes; a multiple of 16
        ("not_before", np.uint64),  # cycle in which it may be issued
        ("beats", np.uint32),  # of 16 bytes; the burst must not cross 4 KiB
        ("id", np.uint16),
        ("write", np.uint8),
        ("partial", np.uint8),  # writes: only some bytes of each beat
    ]
)
_ERROR_BYTES = 512
EVENTS = tuple(name for name in HBM_COUNTERS if name != "ecc_corrected")  # of one bit each
_TIMING = tuple(HbmTiming.__dataclass_fields__)
COUNTERS = (
    *("act", "pre", "pre_all", "rd", "wr", "ref_all", "ref_bank"),
    *("row_hits", "data_cycles", "turnarounds", "outside"),
)


class TrafficError(SimulationError):
    """A violated constraint, lost or wrong data, or requests that are not answered."""


class _Settings(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint32) for n in ("most_reads", "most_writes", "stall", "seed", "ecc")]
    _fields_ += [("max_cycles", ctypes.c_uint64)]


class _Result(ctypes.Structure):
    _fields_ = [("cycles", ctypes.c_uint64), ("error", ctypes.c_char * _ERROR_BYTES)]
    _fields_ += [(name, ctypes.c_uint64) for name in COUNTERS]
    _fields_ += [("events", ctypes.c_uint64 * len(EVENTS)), ("latencies", ctypes.c_uint64)]


@dataclass(frozen=True)
class Outcome:
    """``issued``: cycle of each request; ``first``: cycles from there to its first beat, or to a
    write's response; ``last``: cycle of the last beat or response; ``counters``: the device's;
    ``events``: those that the controller reports (but for ECC), ``latencies`` the sum of its reads'
    latencies."""

    cycles: int
    issued: NDArray[np.uint64]
    first: NDArray[np.uint64]
    last: NDArray[np.uint64]
    counters: dict[str, int]
    events: dict[str, int]
    latencies: int


class HbmTraffic:
    """A controller of one pseudo-channel, verilated, built once per content.

    ``options`` go to `rtl.hbm_controller.HbmController`. ValueError when it cannot be built.
    """

    def __init__(self, mapping: HbmMap, **options: Any) -> None:
        self.mapping = mapping
        self._ecc, self.per_bank = options.get("ecc", False), options.get("per_bank", False)
        self._library = _load(mapping, tuple(sorted(options.items())))

    def run(
        self,
        requests: NDArray[Any],
        size: int,
        reads: int = 32,
        writes: int = 32,
        stall: int = 0,
        seed: int = 1,
        max_cycles: int = 1 << 40,
    ) -> Outcome:
        """Make all ``requests`` (of `REQUEST`) in order, at most ``reads`` and ``writes`` of them
        at a time, on a memory of ``size`` random bytes; all data are compared with a shadow of it.
        ``stall`` of 1000 responses are not taken at once. Raises TrafficError."""
        generation = self.mapping.generation
        requests = np.ascontiguousarray(requests, REQUEST)
        memory = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
        shadow = memory.copy()
        issued, first, last = (np.zeros(len(requests), np.uint64) for _ in range(3))
        settings, result = _Settings(reads, writes, stall, seed, self._ecc, max_cycles), _Result()
        timing = (ctypes.c_int32 * len(_TIMING))(*(getattr(generation.timing, n) for n in _TIMING))
        failed = self._library.jx_traffic(
            _pointer(requests),
            len(requests),
            ctypes.byref(settings),
            timing,
            generation.rows,
            _pointer(memory),
            _pointer(shadow),
            ctypes.c_uint64(size),
            _pointer(issued),
            _pointer(first),
            _pointer(last),
            ctypes.byref(result),
        )
        if failed:
            raise TrafficError(f"{generation.name}: {result.error.decode()}")
        if not np.array_equal(memory, shadow):
            where = int(np.flatnonzero(memory != shadow)[0])
            raise TrafficError(f"{generation.name}: memory holds other data from {where:#x} on")
        counters = {name: getattr(result, name) for name in COUNTERS}
        events = dict(zip(EVENTS, result.events, strict=True))
        return Outcome(result.cycles, issued, first, last, counters, events, result.latencies)


def _pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


@lru_cache(maxsize=16)
def _load(mapping: HbmMap, options: tuple[tuple[str, Any], ...]) -> ctypes.CDLL:
    from rtl.emit import SRAM_MODEL, emit
    from rtl.hbm_controller import HbmController

    design = SRAM_MODEL.read_text() + emit(
        HbmController(mapping.generation, mapping, **dict(options)), TOP
    )
    layout = f"#pragma once\n#define EVENTS {len(EVENTS)}\n{address_layout(mapping)}"
    model = NativeModel(TOP, design, HARNESS, lambda _: layout, HEADERS)
    target = build_root() / "rtl" / f"hbm-{digest([design, layout, model.key()])}"
    with locked(target.with_suffix(".lock")):
        if not (target / "hbm.so").exists():
            build_library(model, target, "hbm.so")
    return ctypes.CDLL(str(target / "hbm.so"))
