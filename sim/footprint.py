"""Which bytes and accumulator rows a command reads and writes: for checkers, not for execution."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.formats import FORMATS
from isa.image import ProgramImage
from isa.rules import INDEX_BYTES, REDUCTIONS
from isa.table import Engine
from sim.scalar import Command, ScalarMachine


class Access(NamedTuple):
    """``planes`` blocks, ``plane`` apart, of ``rows`` runs of ``length`` units, ``stride`` apart,
    from ``base`` on; units of ``space``: "sram" and "hbm" in bytes, "acc" in accumulator rows.
    """

    space: str
    base: int
    stride: int
    rows: int
    length: int
    write: bool
    planes: int = 1
    plane: int = 0

    @property
    def end(self) -> int:
        rest = (self.planes - 1) * self.plane + (self.rows - 1) * self.stride
        return self.base + rest + self.length

    @property
    def units(self) -> int:
        """How many are accessed; those that several runs share count in each of them."""
        return self.planes * self.rows * self.length

    def starts(self) -> NDArray[np.int64]:
        """Of all runs, in order."""
        planes = self.base + self.plane * np.arange(self.planes, dtype=np.int64)
        return np.add.outer(planes, self.stride * np.arange(self.rows)).reshape(-1)


def footprint(config: ChipConfig, command: Command) -> list[Access]:
    """All accesses of an engine's command, or of the sequencer's ld and st; nothing for the
    others."""
    if command.mnemonic in ("ld", "st"):
        return [Access("hbm", command.fields[0], 0, 1, 4, command.mnemonic == "st")]
    fields = command.named()
    if not fields:
        return []
    if command.engine in (Engine.LOAD, Engine.STORE):
        return _dma(config, fields, command.mnemonic)
    if command.engine == Engine.MATRIX:
        return _matmul(config, fields)
    return _vector(config, command.mnemonic, fields)


def _dma(config: ChipConfig, f: dict, mnemonic: str) -> list[Access]:
    """Which rows of HBM `gather` reads is not known: any from the first one on."""
    atom, write, rows, size = HBM_ATOM_BYTES, mnemonic != "store", f["rows"], f["bytes"]
    filled = size + (-size % config.byte_vector_bytes if write else 0)
    first = f["hbm"] * atom + f["offset"]
    if mnemonic == "gather":
        return [
            Access("hbm", first, 0, 1, config.capacity_bytes - first, False),
            Access("sram", f["hplane"], 0, 1, rows * INDEX_BYTES, False),
            Access("sram", f["sram"], f["sstride"], rows, filled, True),
        ]
    planes, hplane = f["planes"], f["hplane"] * atom
    return [
        Access("hbm", first, f["hstride"] * atom, rows, size, not write, planes, hplane),
        Access("sram", f["sram"], f["sstride"], rows, filled, write, planes, f["splane"]),
    ]


def _matmul(config: ChipConfig, f: dict) -> list[Access]:
    panels, tiles = -(-f["n"] // config.cols), -(-f["k"] // config.rows)
    accesses = [
        Access("sram", f["a"], f["astride"], f["m"], tiles * config.array_row_bytes, False),
        Access("acc", f["acc"], 0, 1, panels * f["m"], True),
    ]
    entry, transposed = FORMATS[f["wf"]], f["layout"] == "transposed"
    blocks = -(-f["k"] // entry.block) if entry.block else 0
    scales = blocks * config.cols * entry.scale_bytes
    header = -(-scales // config.line_bytes) * config.line_bytes
    unit = entry.bytes_of(config.rows * tiles if transposed else config.cols)
    if not header and panels > 1:  # panels behind or beside each other: one piece
        if transposed and f["wpanel"] == config.cols * f["wstride"]:
            return [*accesses, Access("sram", f["w"], f["wstride"], f["n"], unit, False)]
        if not transposed and f["wpanel"] == unit:
            return [*accesses, Access("sram", f["w"], f["wstride"], f["k"], panels * unit, False)]
    for panel in range(panels):
        base = f["w"] + panel * f["wpanel"]
        rows = min(config.cols, f["n"] - panel * config.cols) if transposed else f["k"]
        accesses.append(Access("sram", base + header, f["wstride"], rows, unit, False))
        if header:
            accesses.append(Access("sram", base, 0, 1, scales, False))
    return accesses


def _vector(config: ChipConfig, mnemonic: str, f: dict) -> list[Access]:
    vectors, rows = -(-f["cols"] // config.lanes), f["rows"]
    size = dict.fromkeys(("i8", "e4m3", "e5m2"), config.byte_vector_bytes)
    size |= {"f32": config.f32_vector_bytes, "bf16": config.bf16_vector_bytes}
    results = 1 if mnemonic in REDUCTIONS else vectors
    accesses = [Access("sram", f["dst"], f["dstride"], rows, results * size[f["dt"]], True)]
    if f["at"] == "acc":
        panels = -(-f["cols"] // config.cols)
        accesses.append(Access("acc", f["a"], f["astride"], panels, rows, False))
    else:
        accesses.append(Access("sram", f["a"], f["astride"], rows, vectors * size[f["at"]], False))
    kind = f.get("bt", "scalar")
    if kind != "scalar":
        length = config.f32_vector_bytes if kind == "col" else vectors * size[kind]
        b_rows = -(-rows // max(1, f["rep"]))
        accesses.append(Access("sram", f["b"], f["bstride"], b_rows, length, False))
    return accesses


def sram_bytes(image: ProgramImage, memory: NDArray[np.uint8]) -> int:
    """Bytes that a run on ``memory`` (unchanged) reads and writes in SRAM: operands, not lines."""
    trace = ScalarMachine(image.config, image.code).run(memory.copy())
    accesses = (access for command in trace for access in footprint(image.config, command))
    return sum(access.units for access in accesses if access.space == "sram")
