"""Values that are put together piece by piece, as torch writes assignments to slices: ScatterND.

As in `compiler.movement`, nodes are run on indices: of each element, which feature of which token
it is, of which of several tensors; 0 where nothing has been put yet. What is used must be filled.
"""

from dataclasses import dataclass, replace

import numpy as np
import onnx

from compiler.canonical_arrange import LARGEST, arrange
from compiler.canonical_context import Context, attribute, refuse
from compiler.evaluate_node import results, source_of
from compiler.graph import Source, Tensor
from compiler.movement import FeatureMap, Moved, feature_map

TOKEN = 1 << 32  # from a token's numbers to the next one's: more than features of all parts


@dataclass(frozen=True, eq=False)
class Pieces:
    """Per sample ±(1 + token · TOKEN + number among the features of all parts), or 0."""

    parts: tuple[Tensor, ...]
    index: tuple[np.ndarray, ...]
    sources: tuple[Source, ...] = ()


def take_pieces(context: Context, node: onnx.NodeProto) -> bool:
    """Handle ScatterND, and movements of its results; False for other nodes, whose inputs then are
    tensors."""
    if node.op_type == "ScatterND":
        _put(context, node)
        return True
    value = context.values.get(node.input[0]) if node.input else None
    others_known = all(context.is_known(name) for name in node.input[1:] if name)
    if isinstance(value, Pieces) and node.op_type in MOVED and others_known:
        numbers = [context.known(name) for name in node.input[1:] if name]
        rows = [
            context.evaluator.run_node(node, arrays)
            for arrays in zip(value.index, *numbers, strict=True)
        ]
        sources = (*value.sources, source_of(node))
        for name, index in zip(results(node), zip(*rows, strict=True), strict=True):
            context.values[name] = replace(value, index=index, sources=sources)
        return True
    for name in dict.fromkeys(node.input):
        if isinstance(pieces := context.values.get(name), Pieces):
            _join(context, name, pieces, node)
    return False


MOVED = {
    "Expand", "Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose",
    "Unsqueeze",
}  # fmt: skip


def _put(context: Context, node: onnx.NodeProto) -> None:
    """ScatterND(data, places, updates): of values of tokens, or data that is not used."""
    data, places, updates = node.input
    if not context.is_known(places) or context.is_known(updates):
        refuse(node, "it must put values of tokens where only sizes decide")
    if attribute(node, "reduction", b"none") != b"none":
        refuse(node, "it must not add to what is there")
    if context.is_known(data):
        old = Pieces((), tuple(np.zeros(array.shape, np.int64) for array in context.known(data)))
    else:
        old = _pieces(context, data, node)
    new = _pieces(context, updates, node)
    first = sum(part.size for part in old.parts)
    moved = [index + np.sign(index) * first for index in new.index]
    columns = zip(old.index, context.known(places), moved, strict=True)
    index = tuple(context.evaluator.run_node(node, arrays)[0] for arrays in columns)
    sources = dict.fromkeys((*old.sources, *new.sources, source_of(node)))
    context.values[node.output[0]] = Pieces((*old.parts, *new.parts), index, tuple(sources))


def _pieces(context: Context, name: str, node: onnx.NodeProto) -> Pieces:
    """A value as one piece."""
    value = context.values.get(name)
    if isinstance(value, Pieces):
        return value
    if not isinstance(value, Moved) or not isinstance(value.root, Tensor) or value.scale != 1:
        refuse(node, f'"{name}" is used outside the attention it belongs to')
    size = value.root.size
    tokens = [(np.abs(index) - 1) // size for index in value.indices()]
    index = tuple(
        np.sign(each) * (1 + (np.abs(each) - 1) % size + token * TOKEN)
        for each, token in zip(value.indices(), tokens, strict=True)
    )
    return Pieces((value.root,), index, value.sources)


def _join(context: Context, name: str, pieces: Pieces, node: onnx.NodeProto) -> None:
    """The value becomes a tensor: each part's features first, then side by side, in each group."""
    layout = context.layout(name, node)
    if not all(index.all() for index in pieces.index):
        refuse(node, f'"{name}" is not filled by the pieces that it is put together of')
    whole = Moved(Tensor("", 1, TOKEN), context.shapes(name), layout.token_axis, pieces.index)
    features = feature_map(whole, layout.token_axis, layout.heads)
    if features is None:
        refuse(node, f'"{name}" mixes tokens or has elements of no one token')
    size, tensor = (layout.groups, layout.width), None
    parts, features = _cut(context, name, pieces, features, size, node)
    tensor = arrange(context, parts, features, size, name, pieces.sources)
    if tensor is None:
        refuse(node, f'"{name}" is put together of more than {LARGEST} features of a token')
    context.define(name, tensor, node)


def _cut(
    context: Context,
    name: str,
    pieces: Pieces,
    features: FeatureMap,
    size: tuple[int, int],
    node: onnx.NodeProto,
) -> tuple[list[Tensor], FeatureMap]:
    """Of each part what is used, in order, group by group; and which of its features are where."""
    ends = np.cumsum([part.size for part in pieces.parts])
    source = np.searchsorted(ends, features.position, side="right")
    parts, position, first = list[Tensor](), np.empty_like(features.position), 0
    for number, part in enumerate(pieces.parts):
        mine = source == number
        counts = mine.reshape(size).sum(axis=1)
        if not counts.any():
            continue
        own = features.position[mine] - (ends[number] - part.size)
        each = FeatureMap(own, features.sign[mine])
        shape = (size[0], int(counts[0])) if (counts == counts[0]).all() else (1, own.size)
        moved = Moved(part, (), sources=pieces.sources)
        parts.append(context.features(moved, each, shape, f"{name}.{number}", node))
        position[mine] = first + np.arange(own.size)
        first += own.size
    return parts, FeatureMap(position, np.ones_like(features.sign))
