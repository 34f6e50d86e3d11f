"""Whole numbers among activations and weights: what the array multiplies exactly.

The graph says what floats they become; here it is found out which number each tensor is a multiple
of, so that the product can be of the whole numbers and that number a factor behind it.
"""

from dataclasses import dataclass

import numpy as np

from compiler.canonical_context import Context
from compiler.canonical_movement import ALIASES, MOVES
from compiler.deferred import Array, Deferred
from compiler.graph import Scalar, Tensor
from compiler.quantiser import F32, LARGEST, SCALES

_KEEP_VALUES = ("view", "rotate", "arrange")


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
