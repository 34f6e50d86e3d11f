"""Products with constant weights, and the embedding."""

import numpy as np
import onnx

from compiler.canonical_context import Context, attribute, is_ids, refuse
from compiler.canonical_elementwise import Emitter
from compiler.canonical_operands import operand
from compiler.contrib import dequantised, dequantised_rows
from compiler.deferred import LARGE_BYTES, Array, Deferred
from compiler.evaluate_node import source_of
from compiler.graph import Scalar, Tensor
from compiler.movement import Moved
from compiler.whole_numbers import factored, weights_of_integers, whole_weights
from isa.config import F32_BYTES


def embed(context: Context, node: onnx.NodeProto) -> None:
    """Gather(weight [V, D], ids) → (1, D)."""
    _embed(context, node, _weight(context, node.input[0], node))


def embed_quantised(context: Context, node: onnx.NodeProto) -> None:
    """onnxruntime's GatherBlockQuantized: the weights are worked out now."""
    names = [node.input[0], *node.input[2:]]
    if any(name in context.evaluator.varying for name in names if name):
        refuse(node, "its weights must be constant")
    known = [context.evaluator.constant(name) if name else None for name in names]
    try:
        weights = dequantised_rows(node, known)
    except ValueError as error:
        refuse(node, f"its codes, scales and zero points do not fit: {error}")
    _embed(context, node, weights)


def _embed(context: Context, node: onnx.NodeProto, weight: Array) -> None:
    ids = context.values[node.input[1]]
    if not is_ids(ids) or attribute(node, "axis", 0) != 0:
        refuse(node, "it must select rows of a constant by ids of tokens")
    assert isinstance(ids, Moved)
    assert isinstance(ids.root, Tensor)
    if any((np.ravel(i) != np.arange(1, 1 + i.size)).any() for i in ids.indices()):
        refuse(node, f"it must select rows by {ids.root.name} in their own order")
    constant = context.add_constant(node.input[0], weight)
    size = 1, weight.shape[1]
    attributes, sources = {"ids": ids.root.name}, (source_of(node),)
    result = context.emit("embed", (constant,), size, node.output[0], sources, attributes)
    context.define(node.output[0], result, node)


def matmul(context: Context, node: onnx.NodeProto) -> None:
    """MatMul(x, W [K, N]) over the features of each group."""
    if context.is_known(node.input[0]) or not context.is_known(node.input[1]):
        refuse(node, "a product must be of tokens and constant weights, or part of attention")
    weight = _weight(context, node.input[1], node)
    result = _linear(context, node, node.input[1], weight)
    context.define(node.output[0], result, node)


def matmul_n_bits(context: Context, node: onnx.NodeProto) -> None:
    """onnxruntime's MatMulNBits: the weights are worked out now."""
    names = [*node.input, *[""] * 6]
    if any(name in context.evaluator.varying for name in names[1:6] if name):
        refuse(node, "its weights must be constant")
    if names[4] and (np.diff(context.evaluator.constant(names[4])) < 0).any():
        refuse(node, "its rows must be in order, not permuted by g_idx")
    known = [context.evaluator.constant(name) if name else None for name in names[1:4]]
    try:
        weights = dequantised(node, known)
    except ValueError as error:
        refuse(node, f"its codes, scales and zero points do not fit: {error}")
    result = _linear(context, node, node.input[1], weights)
    if names[5]:
        bias = operand(context, names[5], context.layout(node.output[0], node), node)
        result = Emitter(context, node).emit("add", result, bias)
    context.define(node.output[0], result, node)


def gemm(context: Context, node: onnx.NodeProto) -> None:
    """Gemm(x [S, K], W, bias) with any transB, alpha and beta."""
    if context.is_known(node.input[0]) or attribute(node, "transA", 0):
        refuse(node, "its first input must be tokens, not transposed")
    if not all(context.is_known(name) for name in node.input[1:]):
        refuse(node, "its weights and bias must be constant")
    weight, name = _weight(context, node.input[1], node), node.input[1]
    if attribute(node, "transB", 0):
        weight, name = weight.T, f"{name}.T"
    emitter = Emitter(context, node)
    result = _linear(context, node, name, weight)
    if (alpha := attribute(node, "alpha", 1.0)) != 1.0:
        result = emitter.emit("mul", result, Scalar(alpha))
    if len(node.input) > 2 and node.input[2]:
        bias = operand(context, node.input[2], context.layout(node.output[0], node), node)
        if attribute(node, "beta", 1.0) != 1.0:
            refuse(node, "its beta must be 1")
        result = emitter.emit("add", result, bias)
    context.define(node.output[0], result, node)


def _linear(context: Context, node: onnx.NodeProto, name: str, weight: Array) -> Tensor:
    if not context.layout(node.input[0], node).width_is_last:
        refuse(node, "the product must be over the features of a token, not over the tokens")
    x = context.tensor(node.input[0], node)
    if len(weight) != x.width:
        refuse(node, f"weights of {len(weight)} rows must meet as many features, not {x.width}")
    if whole := factored(context, x):
        return _whole_product(context, node, name, weight, *whole)
    are_bytes = weights_of_integers(context, x, weight)
    attributes = {} if are_bytes is None else {"bytes": are_bytes}
    constant, size = context.add_constant(name, weight), (x.groups, weight.shape[1])
    sources = (source_of(node),)
    return context.emit("linear", (x, constant), size, node.output[0], sources, attributes)


def _whole_product(
    context: Context, node: onnx.NodeProto, name: str, weight: Array, x: Tensor, scale: float
) -> Tensor:
    """The product of whole numbers times a number with weights: first that with their codes, if
    they have some, then all scales."""
    emitter, columns = Emitter(context, node), np.ones((1, weight.shape[1]), np.float32)
    attributes = {}
    if found := whole_weights(context, node.input[1], weight):
        weight, name, columns = found.codes, f"{name}.codes", found.factors.reshape(1, -1)
        attributes = {"bytes": found.are_bytes}
    constant, size = context.add_constant(name, weight), (x.groups, weight.shape[1])
    product = context.emit(
        "linear", (x, constant), size, node.output[0], emitter.sources, attributes
    )
    factors = np.float32(scale) * columns
    if (factors == factors[0, 0]).all():
        return emitter.emit("mul", product, Scalar(float(factors[0, 0])))
    return emitter.emit("mul", product, context.add_constant(f"{name}.scales", factors))


def _weight(context: Context, name: str, node: onnx.NodeProto) -> Array:
    """A constant matrix; leading axes of size 1 are dropped. A large one is computed later."""
    if name in context.evaluator.varying:
        refuse(node, f'the weight "{name}" depends on an input')
    evaluator = context.evaluator
    _, shape = evaluator.type_of(name)
    if len(shape) < 2 or set(shape[:-2]) - {1}:
        refuse(node, f'the weight "{name}" must be a matrix, not of shape {shape}')
    rows, cols = shape[-2:]

    def value() -> np.ndarray:
        array = evaluator.constant(name)
        if array.shape != shape:
            refuse(node, f'the weight "{name}" is of shape {array.shape}, not {shape} as declared')
        return array.reshape(rows, cols)

    small = rows * cols * F32_BYTES < LARGE_BYTES
    return value() if small else Deferred((name,), (rows, cols), value)
