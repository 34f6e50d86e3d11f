"""Weights of products on their way to memory: made, quantised and packed when they are written.

A matrix is needed column block by column block, in order; only the last ones that were made, and
the last columns in their storage format, are kept.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np

from compiler import weights as w
from compiler.builder import HbmImage
from compiler.storage import KINDS
from compiler.virtual import Buffer
from isa.config import ChipConfig

_TAKING_TURNS = 3  # matrices of a gated MLP, whose parts come one after another


class Recent:
    """The last ``count`` values that were made, under their keys."""

    def __init__(self, count: int = 1) -> None:
        self._count, self._values = count, dict[Hashable, Any]()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of the key: one of the last, or a new one."""
        if key not in self._values:
            for old in list(self._values)[: len(self._values) - self._count + 1]:
                del self._values[old]  # gone before the next one is there
            self._values[key] = make()
        return self._values[key]


@dataclass(frozen=True)
class Matrix:
    """(K, N) fp32 of that ``shape``, which lies at row and column ``at`` of what ``make`` gives for
    one of the layers that are alike."""

    name: str
    shape: tuple[int, int]
    make: Callable[[int], w.F32]
    at: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class Block:
    """Weights (rows, cols) in memory as one `matmul` reads them; ``packed`` is their geometry."""

    source: Buffer
    packed: w.Packed
    rows: int
    cols: int
    format: str


@dataclass
class MatrixSource:
    """Places what products need of matrices, in the formats of `compiler.storage.KINDS`."""

    hbm: HbmImage
    config: ChipConfig

    def __post_init__(self) -> None:
        self._matrix, self._columns = Recent(_TAKING_TURNS), Recent()

    def block(self, matrix: Matrix, kind: str, rows: slice, cols: slice) -> Block:
        """These rows (the first begins a block of scales) of these columns."""
        name, row = KINDS[kind], matrix.at[0] + rows.start
        k = len(range(*rows.indices(matrix.shape[0])))
        n = len(range(*cols.indices(matrix.shape[1])))
        packed = w.geometry(name, (k, n), self.config)

        def make(layer: int) -> np.ndarray:
            part = self._quantised(matrix, kind, cols, layer).rows(row, row + k)
            return w.pack(part, self.config)

        place = f"{matrix.name}[{row}:,{matrix.at[1] + cols.start}:]"
        return Block(self.hbm.place(place, packed.size, make), packed, k, n, name)

    def column_scales(
        self, matrix: Matrix, kind: str, cols: slice
    ) -> Callable[[int], np.ndarray] | None:
        """fp32 factors of the products' columns, where the format has them."""
        if not w.has_column_scales(kind):
            return None

        def make(layer: int) -> np.ndarray:
            scales = self._quantised(matrix, kind, cols, layer).columns
            assert scales is not None
            return scales

        return make

    def _quantised(self, matrix: Matrix, kind: str, cols: slice, layer: int) -> w.Weights:
        first = matrix.at[1]
        wanted = slice(first + cols.start, first + cols.stop)

        def columns() -> w.Weights:
            whole = self._matrix.get((matrix.make, layer), lambda: matrix.make(layer))
            return w.quantise(whole[:, wanted], kind)

        key = (matrix.make, layer, kind, wanted.start, wanted.stop)
        return self._columns.get(key, columns)
