"""Behavioural twin of the vector unit: what an instruction does to the SRAM, from `isa` alone."""

from dataclasses import dataclass, field

import numpy as np

from isa import formats, numbers, special
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
    "vabs": lambda a: numbers.canonical(np.abs(a)),
    "vexp2": special.exp2,
    "vrecip": special.recip,
    "vrsqrt": special.rsqrt,
}
REDUCTIONS = {"vsum": numbers.row_sum, "vrmax": numbers.row_max}
MASKS = ("vmask", "vmaskl")
MNEMONICS = (*BINARY, *UNARY, *REDUCTIONS, *MASKS, "vargmax", "vrot")
SIZES = {"f32": 4, "bf16": 2, "i8": 1, "e4m3": 1, "e5m2": 1}


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
    """SRAM bytes and accumulators (acc_rows, C) of one chip: fp32, or the bits of int32."""

    config: ChipConfig
    sram: np.ndarray = field(init=False)
    acc: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.sram = np.zeros(self.config.sram_bytes, np.uint8)
        self.acc = np.zeros((self.config.acc_rows, self.config.cols), np.float32)

    def read(self, address: int, count: int, kind: str) -> np.ndarray:
        """count elements at a byte address → fp32, not canonical."""
        raw = self.sram[address : address + count * SIZES[kind]]
        if kind == "f32":
            return raw.view(np.float32)
        return numbers.widen(raw.view(np.uint16)) if kind == "bf16" else formats.decode(kind, raw)

    def write(self, address: int, values: np.ndarray, kind: str) -> None:
        """Canonical fp32 values (or, of kind f32, any bits) at a byte address, as `kind`."""
        stored = values
        if kind != "f32":
            stored = numbers.to_bf16(values) if kind == "bf16" else formats.quantise(kind, values)
        raw = np.ascontiguousarray(stored).view(np.uint8)
        self.sram[address : address + len(raw)] = raw

    def execute(self, command: Command) -> tuple[np.ndarray, np.ndarray]:
        """All rows are read, then all results written, filled up with +0 to whole vectors.

        Returns the values of the first source (rows, cols), and the results as fp32.
        """
        source = self._source(command)
        result = _compute(command, source, self._second(command), self.config.lanes)
        width = -(-result.shape[1] // self.config.lanes) * self.config.lanes
        padded = np.zeros((command.rows, width), np.float32)
        padded[:, : result.shape[1]] = result
        for row, values in enumerate(padded):
            self.write(command.dst + row * command.dstride, values, command.dt)
        return source, result

    def _source(self, c: Command) -> np.ndarray:
        if c.at != "acc":
            return np.stack([self.read(c.a + r * c.astride, c.cols, c.at) for r in range(c.rows)])
        column = np.arange(c.cols)
        panel = column // self.config.cols * c.astride
        rows = c.a + np.arange(c.rows)[:, None] + panel
        values = self.acc[rows, column % self.config.cols]
        if self.config.element == "int8":
            return numbers.from_int32(values.view(np.int32))
        return values

    def _second(self, c: Command) -> np.ndarray:
        if c.bt == "scalar" or c.mnemonic in MASKS:
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
    if c.mnemonic == "vargmax":
        return _first_maximum(a).astype(np.uint32).view(np.float32)[:, None]
    a = numbers.canonical(a)
    if c.mnemonic == "vrot":
        return a[:, (np.arange(c.cols) + c.rep) % c.cols]
    signed = c.rep - (1 << 16) if c.rep >> 15 else c.rep
    distance = np.arange(c.cols) - np.arange(c.rows)[:, None]
    stays = distance < c.rep if c.mnemonic == "vmask" else distance >= signed
    return np.where(stays, a, numbers.canonical(b))


def _first_maximum(a: np.ndarray) -> np.ndarray:
    """Python's own order of numbers, in which -0.0 == 0.0; a NaN is found before all."""
    nan = [np.flatnonzero(np.isnan(row)) for row in a]
    found = [max(range(len(row)), key=list(row).__getitem__) for row in numbers.canonical(a)]
    return np.array([n[0] if len(n) else f for n, f in zip(nan, found, strict=True)])
