"""Mixtures of experts: weights that are fetched by what each token chooses.

Indices are numbers of each token, (k, 1) (`compiler.canonical_choice`). A Gather of constants by
them is remembered as `Fetched` until it meets a token: a product becomes `chosen_linear`, rows
become `lookup`. Which weights are read, all or only the chosen ones, is for the lowering to decide.
"""

import math
from dataclasses import dataclass, replace

import onnx

from compiler.canonical_choice import gather_elements, index_of, one_hot
from compiler.canonical_context import Context, attribute, refuse
from compiler.canonical_elementwise import Emitter
from compiler.deferred import LARGE_BYTES, Array, Deferred
from compiler.evaluate_node import source_of
from compiler.graph import Source, Tensor
from compiler.movement import FeatureMap, Moved, feature_map
from isa.config import F32_BYTES


@dataclass(frozen=True)
class Fetched:
    """The matrices `name` [E, …, …] that each token's `index` (k, 1) chooses."""

    index: Tensor
    name: str
    transposed: bool
    sources: tuple[Source, ...]


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
        return gather_elements(context, node)
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
