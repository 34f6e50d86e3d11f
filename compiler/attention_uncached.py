"""Attention in graphs that take all tokens at once and show no caches: keys and values in any form.

The chip keeps caches all the same, so that such a model's program goes on from where it was, too.
"""

import numpy as np
import onnx

from compiler.canonical_context import Context, refuse
from compiler.canonical_operands import scalar
from compiler.evaluate_sample import Sample, Shape
from compiler.graph import Tensor
from compiler.movement import FeatureMap, Moved


def new_heads(
    context: Context, node: onnx.NodeProto, moved: Moved, heads: int, transposed: bool
) -> Tensor:
    """The keys or values that `node` multiplies with, of each token as (key heads, width); so many
    of the ``heads`` queries, in order, share each of them."""
    assert isinstance(moved.root, Tensor)
    shapes = context.shapes(node.output[0])
    found: FeatureMap | None = None
    for index, shape, sample in zip(moved.indices(), shapes, context.samples, strict=True):
        index = index.swapaxes(-1, -2) if transposed else index
        each = _of_one_token(index, shape, sample, moved.root.size)
        found = found or each
        if each is None or found is None or (each.position != found.position).any():
            refuse(node, f"keys and values must have {heads} heads, of one token each")
    assert found is not None
    shared = _sharing((found.position + 1) * found.sign)
    features = FeatureMap(found.position[::shared].reshape(-1), found.sign[::shared].reshape(-1))
    size = heads // shared, found.position.shape[1]
    return context.features(moved, features, size, f"{node.input[1]}.heads", node)


def _of_one_token(index: np.ndarray, shape: Shape, sample: Sample, size: int) -> FeatureMap | None:
    """What each token has in (heads, tokens, width): (heads, width); None if tokens mix."""
    heads, width = int(np.prod(shape[:-2])), index.shape[-1]
    try:
        index = np.broadcast_to(index, (*shape[:-2], sample.new, width))
    except ValueError:
        return None
    index = index.reshape(heads, sample.new, width)
    position, sign = np.abs(index) - 1 - size * np.arange(sample.new)[:, None], np.sign(index)
    alike = (position == position[:, :1]).all() and (sign == sign[:, :1]).all()
    inside = (position >= 0).all() and (position < size).all()
    return FeatureMap(position[:, 0], sign[:, 0]) if alike and inside else None


def _sharing(rows: np.ndarray) -> int:
    """How many rows, at most, are equal in each of as many groups."""
    for shared in range(len(rows), 1, -1):
        if len(rows) % shared == 0:
            groups = rows.reshape(len(rows) // shared, shared, -1)
            if (groups == groups[:, :1]).all():
                return shared
    return 1


def is_repeated(context: Context, name: str) -> bool:
    """Whether it is a token's heads, some more than once: a number then multiplies the scores."""
    value = context.values.get(name)
    if context.evaluator.interface.caches or not isinstance(value, Moved) or value.index is None:
        return False
    index = value.index[0]
    return isinstance(value.root, Tensor) and np.unique(abs(index)).size < index.size


def scales_repeated(context: Context, node: onnx.NodeProto) -> bool:
    """Whether it multiplies or divides such heads by a number; not by a table, as rotations do."""
    name, other = node.input
    if context.is_known(name):
        name, other = other, name
    return (
        context.is_known(other)
        and scalar(context, other) is not None
        and is_repeated(context, name)
    )
