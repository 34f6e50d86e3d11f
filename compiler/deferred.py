"""Large constants, computed when they are wanted and not kept: a model need not fit the memory."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

LARGE_BYTES = 1 << 20  # what is smaller is kept


class Deferred:
    """Behaves as an fp32 array of that ``shape``; ``make`` computes it, each time anew. Two with
    equal ``key`` are equal."""

    dtype = np.dtype(np.float32)

    def __init__(self, key: tuple, shape: tuple[int, ...], make: Callable[[], NDArray]) -> None:
        self.key, self.shape, self._make = key, shape, make

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def T(self) -> "Deferred":  # as NumPy calls it
        return Deferred((*self.key, "T"), self.shape[::-1], lambda: self._make().T)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: Any) -> NDArray:
        return np.asarray(self)[index]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray:
        return np.asarray(self._make(), dtype or self.dtype)


Array = NDArray | Deferred


def same(a: Array, b: Array) -> bool:
    """Whether two arrays have one shape and equal elements; NaNs equal each other. Large ones are
    the same if they are computed alike."""
    if isinstance(a, Deferred) or isinstance(b, Deferred):
        return isinstance(a, Deferred) and isinstance(b, Deferred) and a.key == b.key
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())
