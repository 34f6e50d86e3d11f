"""Weights of products on their way to memory: made, quantised and packed when they are written.

A matrix is needed column block by column block, in order; only the last one that was made, and the
last columns in their storage format, are kept.
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


class Recent:
    """The last value that was made, under its key."""

    def __init__(self) -> None:
        self._key: Hashable = None
        self._value: Any = None

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """The value of the key: the last one, or a new one."""
        if key != self._key:
            self._key, self._value = None, None  # gone before the next one is there
            self._value = make()
            self._key = key
        return self._value


@dataclass(frozen=True)
class Matrix:
    """(K, N) fp32 of that ``shape``; ``make`` gives it for one of the layers that are alike."""

    name: str
    shape: tuple[int, int]
    make: Callable[[int], w.F32]


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
        self._matrix, self._columns = Recent(), Recent()

    def block(self, matrix: Matrix, kind: str, rows: slice, cols: slice) -> Block:
        """These rows (the first begins a block of scales) of these columns."""
        name = KINDS[kind]
        k = len(range(*rows.indices(matrix.shape[0])))
        n = len(range(*cols.indices(matrix.shape[1])))
        packed = w.geometry(name, (k, n), self.config)

        def make(layer: int) -> np.ndarray:
            part = self._quantised(matrix, kind, cols, layer).rows(rows.start, rows.start + k)
            return w.pack(part, self.config)

        place = f"{matrix.name}[{rows.start}:,{cols.start}:]"
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
        def columns() -> w.Weights:
            whole = self._matrix.get((matrix, layer), lambda: matrix.make(layer))
            return w.quantise(whole[:, cols], kind)

        key = (matrix, layer, kind, cols.start, cols.stop)
        return self._columns.get(key, columns)
