"""Symbolic shapes from concrete ones: which dimension is the new, the past, the total tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compiler.evaluate_sample import Sample, Shape

NAMES = ("new", "past", "total")


@dataclass(frozen=True)
class Sized:
    """``factor`` times one of NAMES; more than 1 where the heads of all tokens share an axis."""

    name: str
    factor: int = 1


Dim = int | Sized


def symbolic_shapes(
    samples: Sequence[Sample], shapes: Sequence[Mapping[str, Shape]]
) -> dict[str, tuple[Dim, ...]]:
    """The shapes that follow the sizes of every sample; a value with another shape is left out."""
    sizes = {name: tuple(getattr(sample, name) for sample in samples) for name in NAMES}
    found = {}
    for value in shapes[0]:
        concrete = [shape[value] for shape in shapes]
        if len({len(shape) for shape in concrete}) == 1:
            dims = [_dim(axis, sizes) for axis in zip(*concrete, strict=True)]
            if all(dim is not None for dim in dims):
                found[value] = tuple(dim for dim in dims if dim is not None)
    return found


def _dim(axis: Shape, sizes: Mapping[str, Shape]) -> Dim | None:
    if len(set(axis)) == 1:
        return axis[0]
    for name, size in sizes.items():
        factor = axis[0] // size[0] if size[0] else 0
        if axis == tuple(factor * each for each in size):
            return Sized(name, factor)
    return None


def concrete_shape(dims: Sequence[Dim], sample: Sample) -> Shape:
    """The shape at one sample size."""
    return tuple(
        dim if isinstance(dim, int) else dim.factor * int(getattr(sample, dim.name)) for dim in dims
    )
