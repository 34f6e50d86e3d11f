"""Products for the matrix unit: operands of all formats and how they lie in the SRAM."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from isa import formats
from isa.config import ChipConfig
from isa.formats import FORMATS, Codes
from isa.table import BY_MNEMONIC, MATRIX, Choice, Operand
from tb.matrix_reference import matmul, random_codes

# Not a number and, where there are such, infinite or zero.
_SPECIAL_SCALES = {
    "e8m0": [0xFF, 0],
    "e4m3": [0x7F, 0xFF, 0, 0x80],
    "bf16": [0x7F80, 0xFF80, 0x7FC0, 0xFF81, 0, 0x8000],
}


@dataclass
class Product:
    """One matmul: operands as codes, and where they lie.

    ``packed``: weight rows lie one behind the other (if transposed: nothing between columns);
    ``skew``: distance of the weights from the alignment of lines, in rows of C weights or
    (transposed) columns of R; weights with scales must begin with a line.
    """

    config: ChipConfig
    shape: tuple[int, int, int]  # M, K, N
    layout: str = "normal"
    packed: bool = True
    skew: int = 0
    accumulate: bool = False
    acc: int = 0
    base: int = 0
    seed: int = 0
    af: str = "bf16"
    wf: str = "bf16"
    a: Codes = field(init=False)  # (M, K)
    w: Codes = field(init=False)  # (K, N)
    scales: Codes | None = field(init=False)  # (ceil(K / B), N)

    def __post_init__(self) -> None:
        m, k, n = self.shape
        dice = np.random.default_rng(self.seed)
        entry = FORMATS[self.wf]
        calm = dice.random() < 0.5  # so that what is not finite hides nothing
        self.a = random_codes(dice, self.af, m, k, calm=calm)
        self.w = random_codes(dice, self.wf, k, n, calm=calm)
        if dice.random() < 0.5 and self.af != "i8":
            self._cancel(dice)
        self.scales = None
        if entry.block:
            self.scales = random_codes(dice, entry.scale, -(-k // entry.block), n, calm=calm)
            if calm:
                place = tuple(int(dice.integers(size)) for size in self.scales.shape)
                self.scales[place] = dice.choice(_SPECIAL_SCALES[entry.scale])

    def _cancel(self, dice: np.random.Generator) -> None:
        """Half of the products are the opposite of the one before, all but their last bit, and in
        bf16 so much greater that what was added up before is in the last bits of the sum."""
        sign = 0x8000 if self.af == "bf16" else 0x80
        for k in range(1, self.shape[1]):
            if dice.random() < 0.5:
                if self.af == "bf16":
                    self.a[:, k - 1] = _greater(self.a[:, k - 1], int(dice.integers(8, 20)))
                self.a[:, k] = self.a[:, k - 1] ^ sign ^ dice.integers(2)
                self.w[k] = self.w[k - 1]

    @property
    def panels(self) -> int:
        return -(-self.shape[2] // self.config.cols)

    def fields(self, memory: NDArray[np.uint8]) -> dict[str, int]:
        """Write the operands to `memory` (the SRAM), half of the time into what most formats read
        as no numbers; the command."""
        if self.seed % 2:
            memory[self.base :] = 0xFF
        (m, k, n), rows = self.shape, self.config.rows
        astride = self.config.array_row_bytes * (-(-k // rows) + self.seed % 2)
        _store(memory, self.base, astride, formats.pack(self.af, self.a))
        w, wstride, wpanel = self._store_weights(memory, self.base + m * astride)
        opcode = BY_MNEMONIC["matmul"].opcode
        numbers = (opcode, self.acc, self.base, astride, w, wstride, wpanel, m, k, n)
        names = ("opcode", *(f.name for f in MATRIX.fields if isinstance(f, Operand)))
        values = dict(zip(names, numbers, strict=True))
        chosen = {"af": self.af, "wf": self.wf, "layout": self.layout}
        chosen["mode"] = "accumulate" if self.accumulate else "overwrite"
        choices = {f.name: f.values for f in MATRIX.fields if isinstance(f, Choice)}
        return values | {name: choices[name].index(value) for name, value in chosen.items()}

    def _store_weights(self, memory: NDArray[np.uint8], behind: int) -> tuple[int, int, int]:
        """Returns the fields w, wstride and wpanel."""
        (_, k, _), rows, cols = self.shape, self.config.rows, self.config.cols
        entry, normal = FORMATS[self.wf], self.layout == "normal"
        unit = entry.bytes_of(cols if normal else rows)
        header = self._lines(0 if self.scales is None else len(self.scales) * entry.scale_bytes)
        along = 1 if normal else -(-k // rows)  # units of a stored row
        wstride = unit * (along + (0 if self.packed else 1 + self.seed % 2))
        wpanel = header + wstride * (k if normal else cols) + unit * (self.seed % 2)
        start = -(-behind // self.config.line_bytes) * self.config.line_bytes
        if entry.block:
            wpanel = -(-wpanel // self.config.line_bytes) * self.config.line_bytes
        else:
            start += unit * self.skew
            if normal and not self.packed:  # the usual matrix: whole rows of N behind each other
                wstride, wpanel = unit * (self.panels + self.seed % 2), unit
        for j in range(self.panels):
            columns = slice(j * cols, (j + 1) * cols)
            place = start + j * wpanel
            if self.scales is not None:
                scales = _widened(self.scales[:, columns], cols)
                _store(memory, place, cols * entry.scale_bytes, scales.view(np.uint8))
            stored = self.w[:, columns] if normal else self.w[:, columns].T
            stored = _widened(stored, along * (cols if normal else rows))
            _store(memory, place + header, wstride, formats.pack(self.wf, stored))
        return start, wstride, wpanel

    def _lines(self, bytes_of_column: int) -> int:
        line = self.config.line_bytes
        return -(-bytes_of_column * self.config.cols // line) * line

    def apply(self, acc: NDArray[np.uint32]) -> None:
        """What the product makes of the accumulators (acc_rows, C)."""
        (m, k, n), cols = self.shape, self.config.cols
        shape = k, self.panels * cols - n
        none = np.zeros(shape, self.w.dtype)  # columns from N on: weights of +0
        scales = self.scales
        if scales is not None:  # a block's scale of +0 does not turn them into anything else
            ones = np.full((len(scales), shape[1]), _one(FORMATS[self.wf].scale), scales.dtype)
            scales = np.hstack([scales, ones])
        weights = self.wf, np.hstack([self.w, none]), scales
        block = acc[self.acc : self.acc + self.panels * m]
        previous = block.reshape(self.panels, m, cols).transpose(1, 0, 2).reshape(m, -1)
        operands = (self.af, self.a), weights
        result = matmul(self.config, *operands, previous if self.accumulate else None)
        block[...] = result.reshape(m, self.panels, cols).transpose(1, 0, 2).reshape(-1, cols)


def _greater(codes: Codes, powers: int) -> Codes:
    """bf16 numbers times a power of two; those that would be too large, or are none, stay."""
    exponents = codes >> 7 & 0xFF
    fits = (exponents > 0) & (exponents + powers < 0xFF)
    return np.where(fits, codes + (powers << 7), codes).astype(codes.dtype)


def _one(scale: str) -> int:
    return {"e8m0": 127, "e4m3": 0x38, "bf16": 0x3F80}[scale]


def _widened(codes: Codes, width: int) -> Codes:
    """Rows of `width` codes; those behind the given ones mean something, but must not count."""
    missing = np.full((len(codes), width - codes.shape[1]), 0x37, codes.dtype)
    return np.hstack([codes, missing])


def _store(memory: NDArray[np.uint8], address: int, stride: int, rows: NDArray[np.uint8]) -> None:
    for i, row in enumerate(rows):
        memory[address + i * stride :][: row.size] = row
