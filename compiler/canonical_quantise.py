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
from compiler.canonical_movement import ALIASES, MOVES
from compiler.deferred import Array, Deferred
from compiler.evaluate_node import source_of
from compiler.graph import Constant, Operand, Scalar, Tensor
from compiler.quantiser import F32, LARGEST, SCALES, Quantiser

_TYPES = onnx.TensorProto
CODES: dict[int, tuple[int, int]] = {
    _TYPES.UINT8: (0, 255),
    _TYPES.INT8: (-128, 127),
    _TYPES.UINT4: (0, 15),
    _TYPES.INT4: (-8, 7),
}
_KEEP_VALUES = ("view", "rotate", "arrange")


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
        first, last = whole_range(context, found[0]) or (0, 0)
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


def whole_range(context: Context, x: Tensor) -> tuple[int, int] | None:
    """Least and greatest number of a tensor that is known to hold whole ones."""
    op = context.ops.get(x.name)
    if op is None:
        return None
    if op.kind == "round" and op.attributes["unit"] == 1:
        return op.attributes["low"], op.attributes["high"]
    inputs = [i for i in op.inputs if isinstance(i, Tensor)]
    if op.kind in _KEEP_VALUES:
        ranges = [whole_range(context, i) for i in inputs]
        if None in ranges:
            return None
        low, high = min(r[0] for r in ranges if r), max(r[1] for r in ranges if r)
        signed = -1 in op.attributes.get("signs", ())
        return (min(low, -high), max(high, -low)) if signed else (low, high)
    if op.kind in ("add", "sub") and isinstance(op.inputs[1], Scalar):
        found, zero = whole_range(context, inputs[0]), op.inputs[1].value
        if found and zero == int(zero):
            shift = int(zero) if op.kind == "add" else -int(zero)
            return found[0] + shift, found[1] + shift
    return None


@dataclass(frozen=True)
class WholeWeights:
    """Whole numbers (K, N) of at most 255, which int8 may hold, and a factor of each column."""

    codes: Array
    factors: F32
    are_bytes: bool


def whole_weights(context: Context, name: str, weight: Array) -> WholeWeights | None:
    """Those whose fp32 products are the constant ``weight``; None where a DequantizeLinear has not
    made it so.

    How it was moved on the way does not matter: the products are compared.
    """
    scale = _scale_of(context, name)
    if scale is None or scale.size not in (1, weight.shape[1]):
        return None
    factors = np.array(np.broadcast_to(scale.reshape(-1), weight.shape[1:]), np.float32)
    if not ((abs(factors) >= SCALES[0]) & (abs(factors) <= SCALES[1])).all():
        return None
    values = np.asarray(weight, np.float32)
    codes = np.rint(values / factors)
    if (abs(codes) > LARGEST).any() or (codes * factors != values).any():
        return None
    are_bytes = bool((codes >= -128).all() and (codes <= 127).all())
    if not isinstance(weight, Deferred):
        return WholeWeights(codes, factors, are_bytes)
    key = (*weight.key, "codes")
    later = Deferred(key, weight.shape, lambda: np.rint(np.asarray(weight) / factors))
    return WholeWeights(later, factors, are_bytes)


def _scale_of(context: Context, name: str) -> F32 | None:
    """Of the DequantizeLinear that a constant comes from, through nodes that move it."""
    evaluator = context.evaluator
    while (node := evaluator.producer.get(name)) is not None:
        if node.op_type == "DequantizeLinear":
            return evaluator.constant(node.input[1]).astype(np.float32)
        if node.op_type not in (*MOVES, *ALIASES):
            return None
        name = node.input[0]
    return None


def factored(context: Context, x: Tensor) -> tuple[Tensor, float] | None:
    """Whole numbers, and the number that they are multiplied with to give ``x``; None if that is
    not how ``x`` is made."""
    op = context.ops.get(x.name)
    if op is None:
        return None
    if op.kind == "mul" and isinstance(op.inputs[1], Scalar):
        whole = op.inputs[0]
        assert isinstance(whole, Tensor)
        low, high = whole_range(context, whole) or (-LARGEST - 1, 0)
        return (whole, op.inputs[1].value) if low >= -LARGEST and high <= LARGEST else None
    if op.kind not in _KEEP_VALUES:
        return None
    parts = [factored(context, i) if isinstance(i, Tensor) else None for i in op.inputs]
    if None in parts or len({p[1] for p in parts if p}) != 1:
        return None
    wholes, scale = [p[0] for p in parts if p], next(p[1] for p in parts if p)
    size = x.groups, x.width
    return context.once(op.kind, wholes, size, x.name, op.sources, op.attributes), scale
