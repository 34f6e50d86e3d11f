"""Mixtures of experts: a choice of the k largest features, and weights that are fetched by it.

TopK's indices are numbers of each token, (k, 1). A Gather of constants by them is remembered as
`Fetched` until it meets a token: a product becomes `chosen_linear`, rows become `lookup`. Which
weights are read, all or only the chosen ones, is for the lowering to decide.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx

from compiler.canonical_context import Context, attribute, refuse
from compiler.canonical_elementwise import LARGEST_FLOAT, Emitter
from compiler.canonical_operands import scalar
from compiler.deferred import LARGE_BYTES, Array, Deferred
from compiler.evaluate_node import source_of
from compiler.graph import Scalar, Source, Tensor
from compiler.movement import FeatureMap, Moved, feature_map
from isa.config import F32_BYTES


@dataclass(frozen=True)
class Fetched:
    """The matrices `name` [E, …, …] that each token's `index` (k, 1) chooses."""

    index: Tensor
    name: str
    transposed: bool
    sources: tuple[Source, ...]


def top_k(context: Context, node: onnx.NodeProto) -> None:
    """TopK of a token's features: indices, and from them the values."""
    layout, count = context.layout(node.input[0], node), scalar(context, node.input[1])
    axis = attribute(node, "axis", -1) % layout.rank
    if count is None or not attribute(node, "largest", 1):
        refuse(node, "it must choose a fixed number of the largest features")
    if not layout.width_is_last or axis != layout.rank - 1 or layout.groups != 1:
        refuse(node, f"it must choose from all features of one token, not along axis {axis}")
    x, emitter, k = context.tensor(node.input[0], node), Emitter(context, node), int(count)
    if not 1 <= k <= x.width:
        refuse(node, f"it must choose 1 to {x.width} of {x.width} features, not {k}")
    values, indices = (*node.output, "")[:2]
    index = emitter.emit("top_index", x, groups=k, width=1)
    if indices:
        context.define(indices, index, node)
    if values in context.evaluator.consumed:
        context.define(values, _picked(context, emitter, x, index), node)


def _picked(context: Context, emitter: Emitter, x: Tensor, index: Tensor) -> Tensor:
    """x (1, E) at the indices, as (k, 1): the products with ones and zeros are added up."""
    finite = emitter.emit("max", x, Scalar(-LARGEST_FLOAT))  # nothing times 0 may be NaN
    chosen = emitter.emit("mul", one_hot(context, index, x.width, emitter.sources), finite)
    return emitter.emit("reduce_sum", chosen, width=1)


def one_hot(context: Context, index: Tensor, count: int, sources: Sequence[Source]) -> Tensor:
    """(k, count): 1 at each index, else 0."""
    size = index.groups, count
    return context.once("one_hot", (index,), size, f"{index.name}.one_hot", sources)


def index_of(context: Context, name: str) -> Tensor | None:
    """The indices (k, 1) that `name` holds in their order, in any shape; None if it does not."""
    value = context.values.get(name)
    if not isinstance(value, Moved) or not isinstance(value.root, Tensor):
        return None
    op = context.ops.get(value.root.name)
    if op is None or op.kind != "top_index":
        return None
    in_order = all(
        (np.ravel(i) == np.arange(1, 1 + i.size)).all() and i.size == s.new * value.root.size
        for i, s in zip(value.indices(), context.samples, strict=True)
    )
    return value.root if in_order else None


def take(context: Context, node: onnx.NodeProto) -> bool:
    """Handle what chooses by indices, and products with a matrix for each group; False if it is
    something else."""
    kind = node.op_type
    if kind in ("Gather", "GatherND") and context.is_known(node.input[0]):
        index = index_of(context, node.input[1])
        if index is not None:
            _fetch(context, node, index)
        return index is not None
    if kind == "GatherElements":
        return _gather_elements(context, node)
    return kind == "MatMul" and _batched_linear(context, node)


def _fetch(context: Context, node: onnx.NodeProto, index: Tensor) -> None:
    """Gather or GatherND on the first axis of a constant [E, …]: matrices wait, rows are taken."""
    name = node.input[0]
    if attribute(node, "axis", 0) != 0 or attribute(node, "batch_dims", 0) != 0:
        refuse(node, "experts must be chosen on the first axis of a constant")
    if name in context.evaluator.varying:
        refuse(node, f'the weights "{name}" depend on an input')
    if node.op_type == "GatherND" and context.shapes(node.input[1])[0][-1] != 1:
        refuse(node, "experts must be chosen by one index each")
    shape = context.evaluator.type_of(name)[1]
    if len(shape) == 3:
        context.values[node.output[0]] = Fetched(index, name, False, (source_of(node),))
        return
    if len(shape) != 2:
        refuse(node, f'"{name}" must hold a row or a matrix for each expert, not be {shape}')
    emitter, rows = Emitter(context, node), context.evaluator.constant(name)
    hot = one_hot(context, index, shape[0], emitter.sources)
    constant = context.add_constant(name, rows)
    result = emitter.emit("lookup", hot, constant, width=shape[1])
    context.define(node.output[0], result, node)


def follow(context: Context, node: onnx.NodeProto) -> None:
    """A node with fetched matrices among its inputs."""
    value = next(v for n in node.input if isinstance(v := context.values.get(n), Fetched))
    kind, out = node.op_type, node.output[0]
    if kind in ("Cast", "Identity", "Dropout"):
        context.values[out] = value
    elif kind == "Transpose" and _swaps_last(context, node):
        sources = (*value.sources, source_of(node))
        context.values[out] = replace(value, transposed=not value.transposed, sources=sources)
    elif kind == "MatMul":
        _multiply(context, node, value)
    else:
        refuse(node, "chosen weights can only be transposed and multiplied with tokens")


def _swaps_last(context: Context, node: onnx.NodeProto) -> bool:
    rank = len(context.shapes(node.input[0])[0])
    order = list(range(rank))
    order[-2:] = order[:-3:-1]
    return list(attribute(node, "perm", [])) == order


def _multiply(context: Context, node: onnx.NodeProto, value: Fetched) -> None:
    """MatMul(tokens (…, 1, K), W), or MatMul(W, tokens (…, K, 1)): (k, N) of each token."""
    weights_first = isinstance(context.values.get(node.input[0]), Fetched)
    name = node.input[1 if weights_first else 0]
    if context.is_known(name) or isinstance(context.values.get(name), Fetched):
        refuse(node, "chosen weights must be multiplied with tokens")
    single = -1 if weights_first else -2
    shapes = (*context.shapes(name), *context.shapes(node.output[0]))
    if any(len(shape) < 2 or shape[single] != 1 for shape in shapes):
        refuse(node, "each token must be one vector, of its own, for each of its experts")
    constant = _weights(context, value.name, value.transposed != weights_first)
    _, rows, cols = constant.shape
    x = _vectors(context, name, value.index.groups, rows, node)
    weights = context.add_constant(
        f"{value.name}{'.T' * (value.transposed != weights_first)}", constant
    )
    sources = (*value.sources, source_of(node))
    size, out = (value.index.groups, cols), node.output[0]
    result = context.emit("chosen_linear", (x, value.index, weights), size, out, sources)
    if context.layout(out, node).groups * context.layout(out, node).width != size[0] * cols:
        refuse(node, f"it must give {size[0]} vectors of {cols} a token")
    context.define(out, result, node)


def _vectors(context: Context, name: str, count: int, width: int, node: onnx.NodeProto) -> Tensor:
    """The value as (count, width), or (1, width) if all of them are the same."""
    value, layout = context.values.get(name), context.layout(name, node)
    features: FeatureMap | None = None
    if isinstance(value, Moved) and isinstance(value.root, Tensor):
        features = feature_map(value, layout.token_axis, layout.heads)
    if features is None:
        refuse(node, f'"{name}" must be vectors of each token')
    assert isinstance(value, Moved)
    assert isinstance(value.root, Tensor)
    if features.size not in (width, count * width):
        refuse(
            node, f"it needs 1 or {count} vectors of {width} a token, not {features.size} numbers"
        )
    rows = features.position.reshape(-1, width)
    alike = (rows == rows[0]).all() and (
        features.sign.reshape(rows.shape) == features.sign[0]
    ).all()
    if alike and len(rows) > 1:
        features = FeatureMap(rows[0], features.sign[:width])
    size = features.size // width, width
    return context.features(value, features, size, name, node)


def _weights(context: Context, name: str, transposed: bool) -> Array:
    """[E, K, N] of a constant; a large one is computed when it is wanted."""
    evaluator, shape = context.evaluator, context.evaluator.type_of(name)[1]
    axes = (0, 2, 1) if transposed else (0, 1, 2)
    if math.prod(shape) * F32_BYTES < LARGE_BYTES:
        return evaluator.constant(name).transpose(axes)
    size = tuple(shape[axis] for axis in axes)
    return Deferred((name, axes), size, lambda: evaluator.constant(name).transpose(axes))


def _filled_with(context: Context, name: str) -> float | None:
    """The number that a known value is full of, in every sample."""
    found = context.known(name) if context.is_known(name) else [np.array([0, 1])]
    first = float(found[0].flat[0])
    return first if all((array == first).all() for array in found) else None


def scatter(context: Context, node: onnx.NodeProto) -> None:
    """ScatterElements of numbers of the chosen features into zeros: (1, E)."""
    index, data = index_of(context, node.input[1]), node.input[0]
    layout = context.layout(node.output[0], node)
    axis = attribute(node, "axis", 0) % layout.rank
    zeros = context.is_known(data) and not any(array.any() for array in context.known(data))
    ones = _filled_with(context, node.input[2]) == 1
    known = context.is_known(node.input[2]) and not ones
    if index is None or not zeros or axis != layout.rank - 1 or known:
        refuse(node, "it must put numbers of a token's chosen features, or ones, into zeros")
    if attribute(node, "reduction", b"none") != b"none":
        refuse(node, "it must not add to what is there")
    emitter = Emitter(context, node)
    if ones:
        hot = one_hot(context, index, layout.width, emitter.sources)
        flags = emitter.emit("sum_groups", hot, groups=1)
        context.flags.add(flags.name)
        context.define(node.output[0], flags, node)
        return
    numbers = context.view(
        context.tensor(node.input[2], node), (index.groups, 1), node.input[2], emitter.sources
    )
    hot = one_hot(context, index, layout.width, emitter.sources)
    result = emitter.emit("sum_groups", emitter.emit("mul", hot, numbers), groups=1)
    context.define(node.output[0], result, node)


def _gather_elements(context: Context, node: onnx.NodeProto) -> bool:
    """GatherElements of a token's features by chosen indices; False if it is something else."""
    index = index_of(context, node.input[1])
    if index is None or context.is_known(node.input[0]):
        return False
    layout = context.layout(node.input[0], node)
    if attribute(node, "axis", 0) % layout.rank != layout.rank - 1 or layout.groups != 1:
        refuse(node, "it must take features of one token")
    emitter, x = Emitter(context, node), context.tensor(node.input[0], node)
    context.define(node.output[0], _picked(context, emitter, x, index), node)
    return True


def _batched_linear(context: Context, node: onnx.NodeProto) -> bool:
    """MatMul(tokens [E, S, K], W [E, K, N]): each group its own weights; False if W is one."""
    if context.is_known(node.input[0]) or node.input[1] in context.evaluator.varying:
        return False
    shape = context.evaluator.type_of(node.input[1])[1] if context.is_known(node.input[1]) else ()
    if len(shape) != 3 or shape[0] == 1:
        return False
    layout = context.layout(node.input[0], node)
    out = context.layout(node.output[0], node)
    if layout.token_axis != layout.rank - 2 or out.groups != shape[0]:
        refuse(node, f"the {shape[0]} weights must be of as many groups of a token's features")
    x = _vectors(context, node.input[0], *shape[:2], node)
    constant = context.add_constant(node.input[1], _weights(context, node.input[1], False))
    size, sources = (shape[0], shape[2]), (source_of(node),)
    result = context.emit("each_linear", (x, constant), size, node.output[0], sources)
    context.define(node.output[0], result, node)
    return True
