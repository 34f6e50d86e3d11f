"""Normalisations over the features of a token."""

from collections.abc import Sequence

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
    _finish(context, emitter, centred, node.input[1:3])


def rms_norm(context: Context, node: onnx.NodeProto) -> None:
    """RMSNormalization, onnxruntime's SimplifiedLayerNormalization: x / sqrt(mean(x²) + epsilon) ·
    scale."""
    _finish(context, Emitter(context, node), _input(context, node), node.input[1:2])


def skip_norm(context: Context, node: onnx.NodeProto) -> None:
    """onnxruntime's SkipLayerNormalization and SkipSimplifiedLayerNormalization: the sum of two
    inputs, and of a bias, is normalised; it may be the fourth output itself."""
    plain = node.op_type == "SkipLayerNormalization"
    emitter, names = Emitter(context, node), [*node.input, *[""] * 3]
    _check_outputs(context, node, (0, 3))
    x = emitter.emit("add", *(context.tensor(name, node) for name in names[:2]))
    if bias := names[4 if plain else 3]:
        layout = context.layout(node.output[0], node)
        x = emitter.emit("add", x, operand(context, bias, layout, node))
    if len(node.output) > 3 and node.output[3]:
        context.define(node.output[3], x, node)
    if plain:
        _finish(context, emitter, emitter.emit("sub", x, _mean(emitter, x)), names[2:4])
    else:
        _finish(context, emitter, x, names[2:3])


def _input(context: Context, node: onnx.NodeProto) -> Tensor:
    layout = context.layout(node.input[0], node)
    axis = attribute(node, "axis", -1) % layout.rank
    if not layout.width_is_last or axis != layout.rank - 1:
        refuse(node, f"it must be over the last axis, features of one token, not from axis {axis}")
    _check_outputs(context, node, (0,))
    return context.tensor(node.input[0], node)


def _check_outputs(context: Context, node: onnx.NodeProto, usable: Sequence[int]) -> None:
    """Statistics are for training."""
    consumed = context.evaluator.consumed
    outputs = enumerate(node.output)
    others = [name for index, name in outputs if name and name in consumed and index not in usable]
    if others:
        refuse(node, f"its statistics cannot be used: {', '.join(others)}")


def _mean(emitter: Emitter, x: Tensor) -> Tensor:
    return emitter.emit("mul", emitter.emit("reduce_sum", x, width=1), Scalar(1.0 / x.width))


def _finish(context: Context, emitter: Emitter, x: Tensor, constants: Sequence[str]) -> None:
    """x / sqrt(mean(x²) + epsilon) · scale + bias."""
    node = emitter.node
    variance = _mean(emitter, emitter.emit("mul", x, x))
    shifted = emitter.emit("add", variance, Scalar(attribute(node, "epsilon", EPSILON)))
    result = emitter.emit("mul", x, emitter.emit("rsqrt", shifted))
    output = context.layout(node.output[0], node)
    for kind, name in zip(("mul", "add"), constants, strict=False):
        if name:
            result = emitter.emit(kind, result, operand(context, name, output, node))
    context.define(node.output[0], result, node)
