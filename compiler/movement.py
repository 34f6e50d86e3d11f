"""Data movement, evaluated: where every number of a value came from.

A chain of Reshape, Transpose, Slice, Concat, Neg … is run on the *indices* of its source instead of
on numbers: index ±(1 + i) stands for number i of the source, Neg flips the sign. Reading the result
in token-major order tells what the chain does to the features of a token, however it is written.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from compiler.evaluate_sample import Shape
from compiler.graph import Cache, Grid, Source, Tensor


@dataclass(frozen=True)
class CacheRoot:
    """One layer's keys or values, past and new: [1, heads, total, width].

    With grids, the cache and `new` are whole numbers of the last one, codes less their zero point;
    what is seen here is `zero` more. `step`: the scale that must make floats of them.
    """

    cache: Cache
    part: str  # "key" or "value"
    new: Tensor  # the new tokens' part, (heads, width) each
    grids: tuple[Grid, ...] = ()
    zero: float = 0.0
    step: float = 1.0


@dataclass(frozen=True)
class Past:
    """One layer's past keys or values, not yet joined with the new ones: on a
    grid, if they are quantised before that; `scale` and `zero` make what is seen of its numbers."""

    cache: Cache
    part: str
    grid: Grid | None = None
    zero: float = 0.0
    scale: float = 1.0


@dataclass(frozen=True, eq=False)
class Moved:
    """`root`, moved: per sample its ONNX shape and the index of each element in the root.

    `index` None is the root's own order, with the tokens on `token_axis`: built when asked for.
    `scale` multiplies every element (cache roots only: there is no operator to hold it).
    """

    root: Tensor | CacheRoot
    shapes: tuple[Shape, ...]
    token_axis: int = 0
    index: tuple[np.ndarray, ...] | None = None
    sources: tuple[Source, ...] = ()
    scale: float = 1.0

    def indices(self) -> tuple[np.ndarray, ...]:
        """Per sample an int64 array of the ONNX shape: ±(1 + position in the root)."""
        if self.index is not None:
            return self.index
        return tuple(_own_order(shape, self.token_axis) for shape in self.shapes)

    def of_token(self, places: Sequence[int]) -> "Moved":
        """This value, which is that token's of each sample, as if it were the only one."""
        assert isinstance(self.root, Tensor)
        size = self.root.size
        pairs = zip(self.indices(), places, strict=True)
        return replace(self, index=tuple(i - np.sign(i) * place * size for i, place in pairs))

    def via(self, index: Sequence[np.ndarray], source: Source) -> "Moved":
        """This value after one more node."""
        index = tuple(index)
        shapes = tuple(array.shape for array in index)
        return replace(self, shapes=shapes, index=index, sources=(*self.sources, source))


def _own_order(shape: Shape, token_axis: int) -> np.ndarray:
    rest = shape[:token_axis] + shape[token_axis + 1 :]
    order = np.arange(1, 1 + int(np.prod(shape)), dtype=np.int64)
    return np.moveaxis(order.reshape(shape[token_axis], *rest), 0, token_axis)


@dataclass(frozen=True)
class FeatureMap:
    """What a movement does to a token: out[f] = sign[f] * root[position[f]]."""

    position: np.ndarray
    sign: np.ndarray

    @property
    def size(self) -> int:
        return self.position.size

    def keeps_order(self) -> bool:
        """Whether feature f comes from feature f, signs aside."""
        return bool((self.position == np.arange(self.size)).all())


def feature_map(moved: Moved, token_axis: int, heads: int = 1) -> FeatureMap | None:
    """The map of a moved tensor whose tokens, or `heads` of each, lie on `token_axis`; None if
    tokens mix.

    It must be the same for every token of every sample.
    """
    assert isinstance(moved.root, Tensor)
    size, found = moved.root.size, None
    for index in moved.indices():
        rows = np.moveaxis(index, token_axis, 0).reshape(index.shape[token_axis] // heads, -1)
        position = np.abs(rows) - 1 - size * np.arange(len(rows))[:, None]
        if found is None:
            found = FeatureMap(position[0], np.sign(rows[0]))
        same = position.shape[1] == found.size and (position == found.position).all()
        if not same or (np.sign(rows) != found.sign).any():
            return None
    if found is None or (found.position < 0).any() or (found.position >= size).any():
        return None
    return found


def rotation(features: FeatureMap, groups: int, width: int) -> tuple[int, tuple[int, ...]] | None:
    """Shift and signs if the map rotates each group by half its width, else None.

    out[g, i] = signs[i] * x[g, (i + width / 2) mod width], one half of the signs -1.
    """
    if features.size != groups * width or width % 2:
        return None
    half = width // 2
    position = (np.arange(width) + half) % width + width * np.arange(groups)[:, None]
    signs = features.sign.reshape(groups, width)
    first = np.repeat([-1, 1], half)
    if not (features.position.reshape(groups, width) == position).all():
        return None
    if not ((signs == first).all() or (signs == -first).all()):
        return None
    return half, tuple(int(sign) for sign in signs[0])
