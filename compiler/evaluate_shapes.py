"""Symbolic shapes from concrete ones: which dimension is the new, the past, the total tokens."""

from collections.abc import Mapping, Sequence

from compiler.evaluate_sample import Sample, Shape

Dim = int | str  # a fixed size, or one of NAMES
NAMES = ("new", "past", "total")


def symbolic_shapes(
    samples: Sequence[Sample], shapes: Sequence[Mapping[str, Shape]]
) -> dict[str, tuple[Dim, ...]]:
    """The shapes that follow the sizes of every sample; a value with another shape is left out."""
    sizes: dict[Shape, Dim] = {
        tuple(getattr(sample, name) for sample in samples): name for name in NAMES
    }
    found = {}
    for value in shapes[0]:
        concrete = [shape[value] for shape in shapes]
        if len({len(shape) for shape in concrete}) == 1:
            dims = [_dim(axis, sizes) for axis in zip(*concrete, strict=True)]
            if all(dim is not None for dim in dims):
                found[value] = tuple(dim for dim in dims if dim is not None)
    return found


def _dim(axis: Shape, sizes: Mapping[Shape, Dim]) -> Dim | None:
    return axis[0] if len(set(axis)) == 1 else sizes.get(axis)


def concrete_shape(dims: Sequence[Dim], sample: Sample) -> Shape:
    """The shape at one sample size."""
    return tuple(dim if isinstance(dim, int) else int(getattr(sample, dim)) for dim in dims)
