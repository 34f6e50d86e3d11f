"""QuantizeLinear and DequantizeLinear of activations: whole numbers that the array multiplies
exactly.

A code less its zero point is a whole number of at most 255, which bf16 holds. So a product of such
numbers, with quantised weights too, is exact while its sums stay below 2^24, and the scales become
one factor behind it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from compiler.canonical_context import Context, attribute, refuse
from compiler.evaluate_node import source_of
from compiler.graph import Constant, Operand, Scalar, Tensor
from compiler.quantiser import F32, Quantiser
from compiler.whole_numbers import factored, whole_range

_TYPES = onnx.TensorProto
CODES: dict[int, tuple[int, int]] = {
    _TYPES.UINT8: (0, 255),
    _TYPES.INT8: (-128, 127),
    _TYPES.UINT4: (0, 15),
    _TYPES.INT4: (-8, 7),
}


@dataclass(frozen=True)
class Codes:
    """What a QuantizeLinear makes: codes less their zero points, and these, (1, width or 1)."""

    quantiser: Quantiser
    zero: F32


def codes_of(context: Context, node: onnx.NodeProto) -> Codes:
    """Of a QuantizeLinear of activations; refuses it where codes are no whole numbers of 8 bits."""
    scale, zero = parameters(context, node)
    kind = context.runs[0].elem_types[node.output[0]]
    if kind not in CODES:
        name = _TYPES.DataType.Name(kind)
        refuse(node, f"activations must become integers of 8 or 4 bits, not {name}: exact products")
    low, high = (np.float32(limit) - zero for limit in CODES[kind])
    try:
        return Codes(Quantiser(scale, low, high), zero)
    except ValueError as error:
        refuse(node, str(error))


def parameters(context: Context, node: onnx.NodeProto) -> tuple[F32, F32]:
    """Scale and zero point, fp32, (1, 1) or (1, width); both of the larger shape."""
    if any(name in context.evaluator.varying for name in node.input[1:]):
        refuse(node, "its scale and zero point must be constant")
    if attribute(node, "block_size", 0):
        refuse(node, "its scale must be one number, or one for each feature, not for blocks")
    known = [context.evaluator.constant(name) for name in node.input[1:] if name]
    scale = known[0].astype(np.float32)
    zero = known[1].astype(np.float32) if len(known) > 1 else np.zeros_like(scale)
    if scale.size > 1:
        layout = context.layout(node.input[0], node)
        axis = attribute(node, "axis", 1) % layout.rank
        if axis != layout.rank - 1 or not layout.width_is_last:
            refuse(node, f"its scales must be those of features, the last axis, not of axis {axis}")
    try:
        scale, zero = np.broadcast_arrays(scale.reshape(1, -1), zero.reshape(1, -1))
    except ValueError:
        refuse(node, f"{zero.size} zero points do not fit {scale.size} scales")
    return np.ascontiguousarray(scale), np.ascontiguousarray(zero)


def quantise(context: Context, node: onnx.NodeProto) -> None:
    """QuantizeLinear: codes, as whole numbers."""
    x = context.tensor(node.input[0], node)
    context.define(node.output[0], coded(context, node, x, codes_of(context, node)), node)


def coded(context: Context, node: onnx.NodeProto, x: Tensor, codes: Codes) -> Tensor:
    """Codes of a tensor, with their zero points."""
    result = rounded(context, node, x, codes.quantiser)
    return _apply(context, node, "add", result, codes.zero) if codes.zero.any() else result


def rounded(context: Context, node: onnx.NodeProto, x: Tensor, quantiser: Quantiser) -> Tensor:
    """Codes less their zero points, of a tensor."""
    low, high = quantiser.range
    if found := factored(context, x):  # codes that are quantised again, alike
        first, last = whole_range(context.ops, found[0]) or (0, 0)
        if (quantiser.scale == np.float32(found[1])).all() and low <= first and last <= high:
            return found[0]

    def do(kind: str, a: Tensor, b: Any) -> Tensor:
        if kind != "round":
            return _apply(context, node, kind, a, b)
        attributes = {"unit": b, "low": int(low / b), "high": int(high / b)}
        size, sources = (a.groups, a.width), (source_of(node),)
        return context.emit("round", (a,), size, node.output[0], sources, attributes)

    try:
        return quantiser.emit(x, do)
    except ValueError as error:
        refuse(node, str(error))


def _apply(context: Context, node: onnx.NodeProto, kind: str, a: Tensor, b: Any) -> Tensor:
    """An operator of a tensor and another one, or fp32 numbers (1, 1) or (1, width)."""
    other: Operand
    if isinstance(b, Tensor):
        other = b
    elif b.size == 1:
        other = Scalar(float(b.reshape(())))
    else:
        other = context.add_constant(f"{node.output[0]}.{kind}", b)
    size, sources = (a.groups, a.width), (source_of(node),)
    return context.emit(kind, (a, other), size, node.output[0], sources)


def dequantise(context: Context, node: onnx.NodeProto) -> None:
    """DequantizeLinear of activations' codes, or of looked-up ones: (x - zero point) · scale."""
    x = context.tensor(node.input[0], node)
    result = dequantised(context, node, x, *parameters(context, node))
    context.define(node.output[0], result, node)


def dequantised(context: Context, node: onnx.NodeProto, x: Tensor, scale: F32, zero: F32) -> Tensor:
    """(x - zero point) · scale."""
    if zero.any():
        x = _without_zero(context, x, zero) or _apply(context, node, "sub", x, zero)
    return _apply(context, node, "mul", x, scale)


def _without_zero(context: Context, x: Tensor, zero: F32) -> Tensor | None:
    """What that zero point was added to, if it was."""
    op = context.ops.get(x.name)
    if op is None or op.kind != "add" or not isinstance(op.inputs[0], Tensor):
        return None
    added = op.inputs[1]
    if isinstance(added, Scalar):
        return op.inputs[0] if (zero == np.float32(added.value)).all() else None
    if isinstance(added, Constant) and np.array_equal(context.constants[added.name], zero):
        return op.inputs[0]
    return None
