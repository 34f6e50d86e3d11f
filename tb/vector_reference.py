"""Behavioural twin of the vector unit: what an instruction does to the SRAM, from `isa` alone."""

from dataclasses import dataclass, field

import numpy as np

from isa import numbers, special
from isa.config import ChipConfig

BINARY = {
    "vadd": numbers.add,
    "vsub": numbers.sub,
    "vmul": numbers.mul,
    "vmax": numbers.maximum,
    "vmin": numbers.minimum,
}
UNARY = {
    "vmov": numbers.canonical,
    "vexp2": special.exp2,
    "vrecip": special.recip,
    "vrsqrt": special.rsqrt,
}
REDUCTIONS = {"vsum": numbers.row_sum, "vrmax": numbers.row_max}
MNEMONICS = (*BINARY, *UNARY, *REDUCTIONS, "vmask", "vrot")
SIZES = {"f32": 4, "bf16": 2}


@dataclass
class Command:
    """A vector instruction with its operands' values."""

    mnemonic: str
    rows: int
    cols: int
    dst: int = 0
    dstride: int = 0
    a: int = 0
    astride: int = 0
    b: int = 0
    bstride: int = 0
    rep: int = 0
    dt: str = "f32"
    at: str = "f32"
    bt: str = "f32"


@dataclass
class State:
    """SRAM bytes and accumulators (acc_rows, C) of one chip."""

    config: ChipConfig
    sram: np.ndarray = field(init=False)
    acc: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.sram = np.zeros(self.config.sram_bytes, np.uint8)
        self.acc = np.zeros((self.config.acc_rows, self.config.cols), np.float32)

    def _places(self, address: int, count: int) -> np.ndarray:
        return (address + np.arange(count)) % self.config.sram_bytes

    def read(self, address: int, count: int, kind: str) -> np.ndarray:
        """count elements at a byte address → fp32, not canonical."""
        raw = self.sram[self._places(address, count * SIZES[kind])]
        if kind == "bf16":
            return (raw.view(np.uint16).astype(np.uint32) << 16).view(np.float32)
        return raw.view(np.float32)

    def write(self, address: int, values: np.ndarray, kind: str) -> None:
        """fp32 values to `kind` at a byte address."""
        stored = numbers.to_bf16(values) if kind == "bf16" else numbers.canonical(values)
        raw = np.ascontiguousarray(stored).view(np.uint8)
        self.sram[self._places(address, len(raw))] = raw

    def execute(self, command: Command) -> None:
        """All rows are read, then all results written, filled up with +0 to whole vectors."""
        result = _compute(command, self._source(command), self._second(command), self.config.lanes)
        width = -(-result.shape[1] // self.config.lanes) * self.config.lanes
        padded = np.zeros((command.rows, width), np.float32)
        padded[:, : result.shape[1]] = result
        for row, values in enumerate(padded):
            self.write(command.dst + row * command.dstride, values, command.dt)

    def _source(self, c: Command) -> np.ndarray:
        if c.at != "acc":
            return np.stack([self.read(c.a + r * c.astride, c.cols, c.at) for r in range(c.rows)])
        column = np.arange(c.cols)
        panel = column // self.config.cols * c.astride
        rows = (c.a + np.arange(c.rows)[:, None] + panel) % self.config.acc_rows
        return self.acc[rows, column % self.config.cols]

    def _second(self, c: Command) -> np.ndarray:
        if c.bt == "scalar" or c.mnemonic == "vmask":
            return np.full((1, 1), c.b, np.uint32).view(np.float32)
        if c.mnemonic not in BINARY:
            return np.zeros((1, 1), np.float32)
        kind, count = ("f32", 1) if c.bt == "col" else (c.bt, c.cols)
        rows = [c.b + r // max(c.rep, 1) * c.bstride for r in range(c.rows)]
        return np.stack([self.read(address, count, kind) for address in rows])


def _compute(c: Command, a: np.ndarray, b: np.ndarray, lanes: int) -> np.ndarray:
    """a: (rows, cols), b: broadcastable to it → (rows, cols), or (rows, 1) of a reduction."""
    if c.mnemonic in BINARY:
        return BINARY[c.mnemonic](a, b)
    if c.mnemonic in UNARY:
        return UNARY[c.mnemonic](a)
    if c.mnemonic in REDUCTIONS:
        return REDUCTIONS[c.mnemonic](a, lanes)[:, None]
    if c.mnemonic == "vmask":
        stays = np.arange(c.cols) < c.rep + np.arange(c.rows)[:, None]
        return np.where(stays, a, b)
    return a[:, (np.arange(c.cols) + c.rep) % c.cols]
