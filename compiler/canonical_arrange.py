"""Any choice, order and signs of features, of one tensor or of several side by side."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import onnx

from compiler.evaluate_node import source_of
from compiler.graph import Source, Tensor
from compiler.movement import FeatureMap, Moved, feature_map

if TYPE_CHECKING:
    from compiler.canonical_context import Context

LARGEST = 4096  # features that are mixed at once: the array multiplies with a matrix of such a side


def arrange(
    context: "Context",
    parts: Sequence[Tensor],
    features: FeatureMap,
    size: tuple[int, int],
    name: str,
    sources: Sequence[Source],
) -> Tensor | None:
    """These features of the parts side by side, as (groups, width) = `size`; None if too many.

    Each group by itself if all groups do the same: the matrix is that of one group.
    """
    whole = len(parts) == 1 and features.size == parts[0].size and features.keeps_order()
    if whole and (features.sign > 0).all():
        return context.view(parts[0], size, name, sources)
    ends = np.cumsum([part.size for part in parts])
    source = np.searchsorted(ends, features.position, side="right")
    position = features.position - np.concatenate([[0], ends])[source]
    for groups in sorted({size[0], 1}, reverse=True):
        widths = np.array([part.size // groups for part in parts])
        own = np.repeat(np.arange(groups), features.size // groups)
        rows = np.stack([source, position - own * widths[source], features.sign], axis=-1)
        rows = rows.reshape(groups, -1, 3)
        inside = (rows[..., 1] >= 0) & (rows[..., 1] < widths[rows[..., 0]])
        divisible = all(part.size % groups == 0 for part in parts)
        if divisible and inside.all() and (rows == rows[:1]).all() and widths.max() <= LARGEST:
            names = ("source", "position", "signs")
            columns = (tuple(int(n) for n in column) for column in rows[0].T)
            shapes = [(groups, part.size // groups) for part in parts]
            views = [
                context.view(part, shape, name, sources)
                for part, shape in zip(parts, shapes, strict=True)
            ]
            attributes = dict(zip(names, columns, strict=True))
            shape = groups, features.size // groups
            result = context.once("arrange", views, shape, name, sources, attributes)
            return context.view(result, size, name, sources)
    return None


def joined(context: "Context", node: onnx.NodeProto) -> bool:
    """Concat of several values of the same tokens on an axis of features; False if it is not."""
    out = node.output[0]
    layout = context.layout(out, node)
    filled = [name for name in node.input if 0 not in context.shapes(name)[0]]
    own = [context.layout(name, node) for name in filled]
    if any((x.token_axis, x.rank, x.heads) != (layout.token_axis, layout.rank, 1) for x in own):
        return False
    parts = [context.tensor(name, node) for name in filled]
    columns, first = [], 0
    total = sum(part.size for part in parts)
    for name in node.input:
        count = parts[filled.index(name)].size if name in filled else 0
        columns.append(_numbers(context, name, layout.token_axis, count, first, total))
        first += count
    rows = [context.evaluator.run_node(node, arrays)[0] for arrays in zip(*columns, strict=True)]
    # Numbers over all parts, token by token: as if they were one tensor.
    root = Tensor("", 1, total)
    moved = Moved(root, context.shapes(out), layout.token_axis, tuple(rows))
    features = feature_map(moved, layout.token_axis)
    if features is None:
        return False
    size, sources = (layout.groups, layout.width), (source_of(node),)
    result = arrange(context, parts, features, size, out, sources)
    if result is None:
        return False
    context.define(out, result, node)
    return True


def _numbers(
    context: "Context", name: str, token_axis: int, size: int, first: int, total: int
) -> list[np.ndarray]:
    """Per sample 1 + number of each feature, of all parts', in the shape of this one."""
    found = []
    for shape in context.shapes(name):
        rest = shape[:token_axis] + shape[token_axis + 1 :]
        tokens = np.arange(shape[token_axis])[:, None] * total
        order = 1 + first + tokens + np.arange(size)
        found.append(np.moveaxis(order.reshape(shape[token_axis], *rest), 0, token_axis))
    return found
