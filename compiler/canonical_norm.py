"""Normalisations over the features of a token."""

import onnx

from compiler.canonical_context import Context, attribute, refuse
from compiler.canonical_elementwise import Emitter
from compiler.canonical_operands import operand
from compiler.graph import Scalar, Tensor

EPSILON = 1e-5  # ONNX's default


def layer_norm(context: Context, node: onnx.NodeProto) -> None:
    """LayerNormalization: (x - mean) / sqrt(variance + epsilon) · scale + bias.

    The variance is the mean of the squared differences: E[x²] - E[x]² would cancel.
    """
    x, emitter = _input(context, node), Emitter(context, node)
    centred = emitter.emit("sub", x, _mean(emitter, x))
    _finish(context, emitter, centred)


def rms_norm(context: Context, node: onnx.NodeProto) -> None:
    """RMSNormalization, onnxruntime's SimplifiedLayerNormalization: x / sqrt(mean(x²) + epsilon) ·
    scale."""
    _finish(context, Emitter(context, node), _input(context, node))


def _input(context: Context, node: onnx.NodeProto) -> Tensor:
    layout = context.layout(node.input[0], node)
    axis = attribute(node, "axis", -1) % layout.rank
    if not layout.width_is_last or axis != layout.rank - 1:
        refuse(node, f"it must be over the last axis, features of one token, not from axis {axis}")
    others = [name for name in node.output[1:] if name in context.evaluator.consumed]
    if others:
        refuse(node, f"only its first output can be used, not {', '.join(others)}")
    return context.tensor(node.input[0], node)


def _mean(emitter: Emitter, x: Tensor) -> Tensor:
    return emitter.emit("mul", emitter.emit("reduce_sum", x, width=1), Scalar(1.0 / x.width))


def _finish(context: Context, emitter: Emitter, x: Tensor) -> None:
    """x / sqrt(mean(x²) + epsilon) · scale + bias."""
    node = emitter.node
    variance = _mean(emitter, emitter.emit("mul", x, x))
    shifted = emitter.emit("add", variance, Scalar(attribute(node, "epsilon", EPSILON)))
    result = emitter.emit("mul", x, emitter.emit("rsqrt", shifted))
    output = context.layout(node.output[0], node)
    for kind, name in zip(("mul", "add"), node.input[1:], strict=False):
        if name:
            result = emitter.emit(kind, result, operand(context, name, output, node))
    context.define(node.output[0], result, node)
