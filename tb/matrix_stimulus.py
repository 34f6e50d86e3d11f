"""Products for the matrix unit: operands, how they lie in the SRAM, and what must come out."""

from dataclasses import dataclass, field

import numpy as np

from isa import numbers
from isa.config import ChipConfig
from isa.table import BY_MNEMONIC, MATRIX


@dataclass
class Product:
    """One matmul: operands as bf16 bits, and where they lie."""

    config: ChipConfig
    shape: tuple[int, int, int]  # M, K, N
    layout: str = "normal"
    packed: bool = True
    skew: int = 0  # distance of the weights from the alignment of lines, in array rows or columns
    accumulate: bool = False
    acc: int = 0
    base: int = 0
    seed: int = 0
    a: np.ndarray = field(init=False)
    w: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        m, k, n = self.shape
        dice = np.random.default_rng(self.seed)
        self.a, self.w = _bf16(dice, m, k), _bf16(dice, k, n)

    @property
    def panels(self) -> int:
        return -(-self.shape[2] // self.config.cols)

    def fields(self, memory: np.ndarray) -> dict[str, int]:
        """Write the operands to `memory` (uint16, SRAM); the command."""
        (m, k, n), rows, cols = self.shape, self.config.rows, self.config.cols
        line = self.config.line_bytes
        astride = 2 * rows * (-(-k // rows) + self.seed % 2)
        a = self.base
        unit = 2 * (cols if self.layout == "normal" else rows)
        w = -(-(a + m * astride) // line) * line + unit * self.skew
        wpanel = 0
        if self.layout == "transposed":
            wstride = 2 * rows * (-(-k // rows) + self.seed % 3)
            _store(memory, w, wstride, self.w.T)
        else:
            wstride = 2 * cols if self.packed else 2 * cols * (self.panels + self.seed % 2)
            wpanel = 2 * cols * (k + self.seed % 2) if self.packed else 2 * cols
            for j in range(self.panels):
                _store(memory, w + j * wpanel, wstride, self.w[:, j * cols : (j + 1) * cols])
        _store(memory, a, astride, self.a)
        values = (self.acc, a, astride, w % (1 << 24), wstride, wpanel, m, k, n)
        choices = (int(self.accumulate), int(self.layout == "transposed"))
        names = ("opcode", *(described.name for described in MATRIX.fields))
        opcode = BY_MNEMONIC["matmul"].opcode
        return dict(zip(names, (opcode, *values, *choices), strict=True))

    def apply(self, acc: np.ndarray) -> None:
        """What the product makes of the accumulators (acc_rows, C)."""
        (m, _, n), cols = self.shape, self.config.cols
        w = np.pad(self.w, ((0, 0), (0, self.panels * cols - n)))
        block = acc[self.acc : self.acc + self.panels * m]
        previous = block.reshape(self.panels, m, cols).transpose(1, 0, 2).reshape(m, -1)
        result = numbers.matmul(
            numbers.from_bf16(self.a),
            numbers.from_bf16(w),
            self.config.rows,
            previous if self.accumulate else None,
        )
        block[...] = result.reshape(m, self.panels, cols).transpose(1, 0, 2).reshape(-1, cols)


def _bf16(dice: np.random.Generator, *shape: int) -> np.ndarray:
    """Values around 1 with some big, tiny, zero, subnormal and, rarely, non-finite ones."""
    values = numbers.to_bf16(dice.standard_normal(shape).astype(np.float32))
    scale = dice.integers(0, 1 << 16, shape, dtype=np.uint16)
    values = np.where(dice.random(shape) < 0.05, scale, values)
    special = dice.choice(np.array([0, 0x8000, 0x0001, 0x7F80, 0x7FC1], np.uint16), shape)
    return np.where(dice.random(shape) < 0.02, special, values)


def _store(memory: np.ndarray, address: int, stride: int, matrix: np.ndarray) -> None:
    """Rows at a distance of `stride` bytes; addresses wrap."""
    for i, row in enumerate(matrix):
        memory[((address + i * stride) // 2 + np.arange(row.size)) % memory.size] = row
