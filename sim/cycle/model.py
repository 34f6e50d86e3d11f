"""The cycle model of one chip: traces in, cycles and their classes out."""

import ctypes
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.counters import COUNTERS, CYCLE_CLASSES
from isa.hbm import ACT_CYCLES, BANKS_PER_GROUP, BEAT_BYTES, BURST_CYCLES, COLUMN_BYTES
from isa.hbm_map import HbmMap
from isa.rules import INDEX_BYTES
from isa.secded import WORD_BYTES
from isa.table import INSTRUCTION_BYTES, Engine
from rtl import timing
from sim.cycle.build import build_model
from sim.cycle.record import Record, TimesPointers
from sim.cycle.trace import Trace, names_of
from sim.errors import SimulationError

_CHIP = names_of("CHIP_FIELDS")
_HBM = names_of("HBM_FIELDS")
# HbmCounts of types.h; the last one is for estimates alone.
_HBM_COUNTS = (
    "reads", "writes", "row_hits", "row_misses", "row_conflicts", "turnarounds", "refreshes",
)  # fmt: skip


def _places() -> dict[str, slice]:
    engines = len(Engine)
    sizes = {"cycles": 1, "conflicts": 1, "classes": engines * len(CYCLE_CLASSES)}
    sizes |= {"retired": engines, "work": engines, "hbm": len(_HBM_COUNTS)}
    ends = np.cumsum(list(sizes.values())).tolist()
    pairs = zip(sizes, ends, strict=True)
    return {name: slice(end - sizes[name], end) for name, end in pairs}


COUNTS = _places()  # where each lies in Counts of core.h, with HbmCounts behind it
COUNTED = COUNTS["hbm"].stop
_PAGE_BYTES = 4096
_MAP_FIELDS = ("row", "column", "bank", "group", "channel")  # MapField of hbm_types.h
_MOST_PIECES = 32


class _Chip(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int64) for name in _CHIP]


class _Hbm(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int64) for name in _HBM),
        ("map", ctypes.c_int64 * 4 * _MOST_PIECES),
    ]


class _Trace(ctypes.Structure):
    _fields_ = [
        ("commands", ctypes.c_void_p),
        ("order", ctypes.c_void_p),
        ("jumps", ctypes.c_void_p),
        ("length", ctypes.c_int64),
        ("numbers", ctypes.c_void_p),
        ("code_base", ctypes.c_int64),
        ("code_count", ctypes.c_int64),
        ("times", TimesPointers),
        ("marks", ctypes.c_void_p),
    ]


class _Result(ctypes.Structure):
    _fields_ = [
        ("halted", ctypes.c_int64),
        ("counts", ctypes.c_int64 * COUNTED),
    ]


@dataclass(frozen=True)
class CycleResult:
    """As `sim.rtl.RunResult`: ``classes`` of an engine add up to ``cycles``. Of the HBM's counters
    those that depend on commands to the devices alone."""

    cycles: int
    conflicts: int
    classes: dict[str, dict[str, int]]
    counters: dict[str, int]
    hbm: dict[str, int]


def chip_numbers(config: ChipConfig) -> dict[str, int]:
    """All numbers that the model counts with, by the names of `types.h`."""
    acc_bytes = 4 * config.acc_rows * config.cols
    group_rows = min(config.weight_rows_per_cycle, config.rows)
    named = {
        "latency": config.memory_latency_cycles,
        "rate": config.bandwidth_bytes_per_cycle,
        "line_shift": (config.line_bytes - 1).bit_length(),
        "bank_digit_bits": timing.bank_digit_bits(config.sram_banks),
        "acc_row_shift": (4 * config.cols - 1).bit_length(),
        "acc_bank_shift": (config.acc_rows // timing.ACC_BANKS - 1).bit_length(),
        "group_rows": group_rows,
        "rows_ahead": timing.rows_ahead(config.rows, group_rows),
        "operand_address_bits": (max(config.sram_bytes, acc_bytes) - 1).bit_length(),
        "instruction_bytes": INSTRUCTION_BYTES,
        "atom_bytes": HBM_ATOM_BYTES,
        "page_bytes": _PAGE_BYTES,
        "index_bytes": INDEX_BYTES,
    }
    found = {}
    for name in _CHIP:
        if name in named:
            found[name] = named[name]
        else:
            found[name] = getattr(config if hasattr(config, name) else timing, _of(config, name))
    return found


def _of(config: ChipConfig, name: str) -> str:
    return name if hasattr(config, name) else name.upper()


def run_trace(
    trace: Trace, config: ChipConfig, most_cycles: int = 1 << 40, record: Record | None = None
) -> CycleResult:
    """Time of a run on ``config``, the chip of the trace with any memory; ``record``, one of this
    trace, is filled.

    Raises SimulationError where it does not end in ``most_cycles``, which no program's trace should
    do.
    """
    return result_of(count_trace(trace, config, most_cycles, record), config)


def count_trace(
    trace: Trace,
    config: ChipConfig,
    most_cycles: int = 1 << 40,
    record: Record | None = None,
    marks: NDArray[np.int64] | None = None,
) -> NDArray[np.int64]:
    """The same, as a row of `COUNTS`. ``marks``, (n, `COUNTS`), gets a row for each of the trace's
    n instructions: what was counted when it and all before it had retired. It needs a record."""
    if trace.repeats:
        raise ValueError("a trace with folded loops can only be estimated")
    numbers = chip_numbers(config)
    chip = _Chip(*(numbers[name] for name in _CHIP))
    order = np.ascontiguousarray(trace.order)
    arrays = (trace.commands, order, trace.jumps, trace.numbers)
    commands, orders, jumps, gathered = (array.ctypes.data for array in arrays)
    places = (commands, orders, jumps, len(order), gathered)
    times = record.pointers() if record else TimesPointers()
    into = marks.ctypes.data if marks is not None else None
    given, result = _Trace(*places, trace.code_base, trace.code_count, times, into), _Result()
    library = _library(build_model())
    parts = (ctypes.byref(part) for part in (chip, _hbm_numbers(config), given))
    library.jx_cycles(*parts, most_cycles, ctypes.byref(result))
    if not result.halted:
        raise SimulationError(f"the cycle model has not halted after {result.counts[0]} cycles")
    return np.array(result.counts)


def result_of(counts: NDArray[np.int64], config: ChipConfig) -> CycleResult:
    """A row of `COUNTS` by names."""
    found = {name: counts[places].tolist() for name, places in COUNTS.items()}
    rows = np.reshape(found["classes"], (len(Engine), len(CYCLE_CLASSES))).tolist()
    classes = {
        engine.name.lower(): dict(zip(CYCLE_CLASSES, row, strict=True))
        for engine, row in zip(Engine, rows, strict=True)
    }
    counted = [*found["retired"], *found["work"][1:]]  # the sequencer has no work of its own
    counters = dict(zip(COUNTERS, counted, strict=True))
    hbm = dict(zip(_HBM_COUNTS, found["hbm"], strict=True)) if config.hbm else {}
    hbm.pop(_HBM_COUNTS[-1], None)
    (cycles,), (conflicts,) = found["cycles"], found["conflicts"]
    return CycleResult(cycles, conflicts, classes, counters, hbm)


def _hbm_numbers(config: ChipConfig) -> _Hbm:
    found = _Hbm()
    if not config.hbm:
        return found
    mapping = config.hbm_mapping
    pieces = _map_pieces(mapping)
    lowest = [1 << bit for bit in mapping.bits("channel")]
    named = {
        **asdict(mapping.generation.timing),
        "banks_per_group": BANKS_PER_GROUP,
        "burst_cycles": BURST_CYCLES,
        "act_cycles": ACT_CYCLES,
        "beat_bytes": BEAT_BYTES,
        "column_bytes": COLUMN_BYTES,
        "word_bytes": WORD_BYTES,
        "channels": config.pseudo_channels,
        "depth": config.hbm_depth,
        "slots": timing.HBM_SLOTS * config.hbm_depth,
        "per_bank": int(config.hbm_refresh == "bank"),
        "ecc": int(config.hbm_ecc == "secded"),
        "piece_bytes": min([_PAGE_BYTES, *lowest]),
        "order_depth": timing.HBM_ORDER_DEPTH,
        "patience": timing.HBM_PATIENCE,
        "postpone": timing.REFRESH_POSTPONED,
        "refresh_idle_cycles": timing.REFRESH_IDLE_CYCLES,
        "pieces": len(pieces),
    }
    for name in _HBM:
        setattr(found, name, named[name])
    for place, piece in enumerate(pieces):
        found.map[place][:] = piece
    return found


def _map_pieces(mapping: HbmMap) -> list[tuple[int, int, int, int]]:
    """(field, its lowest bit, that of the address, bits): runs of address bits that a field is
    made of, or mixed with."""
    pieces: list[tuple[int, int, int, int]] = []
    for index, name in enumerate(_MAP_FIELDS):
        for bits in (mapping.bits(name), mapping.xors.get(name, ())):
            runs: list[list[int]] = []
            for low, at in enumerate(bits):
                if runs and at == runs[-1][1] + runs[-1][2]:
                    runs[-1][2] += 1
                else:
                    runs.append([low, at, 1])
            pieces += [(index, low, at, count) for low, at, count in runs]
    return pieces


@cache
def _library(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    pointer, count = ctypes.c_void_p, ctypes.c_int64
    library.jx_cycles.argtypes = [pointer, pointer, pointer, count, pointer]
    library.jx_cycles.restype = None
    return library
