"""Whole numbers among activations and weights: what the array multiplies exactly.

The graph says what floats they become; here it is found out which number each tensor is a multiple
of, so that the product can be of the whole numbers and that number a factor behind it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

import numpy as np

from compiler.canonical_context import Context
from compiler.canonical_movement import ALIASES, MOVES
from compiler.deferred import Array, Deferred
from compiler.graph import Op, Operand, Scalar, Tensor
from compiler.numerics import ROUNDING
from compiler.quantiser import F32, LARGEST, SCALES

_KEEP_VALUES = ("view", "rotate", "arrange")
BYTES = -128.0, 127.0  # of int8
Range = tuple[float, float]


def whole_range(ops: Mapping[str, Op], x: Operand) -> Range | None:
    """Least and greatest number of an operand that is known to hold whole ones. ``ops``: operators
    by what they make."""
    return _range(ops, x, {})


def _range(ops: Mapping[str, Op], x: Operand, known: dict[str, Range | None]) -> Range | None:
    if isinstance(x, Scalar):
        return (x.value, x.value) if x.value == np.rint(x.value) else None
    if not isinstance(x, Tensor) or x.name not in ops:
        return None
    if x.name not in known:
        known[x.name] = _range_of_op(ops, ops[x.name], known)
    return known[x.name]


def _range_of_op(ops: Mapping[str, Op], op: Op, known: dict[str, Range | None]) -> Range | None:
    if op.kind == "round" and op.attributes["unit"] == 1:
        return op.attributes["low"], op.attributes["high"]
    if _is_raised_and_lowered(ops, op):
        return -inf, inf
    if op.kind not in (*_KEEP_VALUES, "add", "sub", "max", "min"):
        return None
    found = list[Range]()
    for i in op.inputs:
        of_input = _range(ops, i, known)
        if of_input is None:
            return None
        found.append(of_input)
    lows, highs = zip(*found, strict=True)
    if op.kind in _KEEP_VALUES:
        low, high = min(lows), max(highs)
        signed = -1 in op.attributes.get("signs", ())
        return (min(low, -high), max(high, -low)) if signed else (low, high)
    if op.kind == "sub":
        return lows[0] - highs[1], highs[0] - lows[1]
    if op.kind == "add":
        return sum(lows), sum(highs)
    best = max if op.kind == "max" else min
    return best(lows), best(highs)


def _is_raised_and_lowered(ops: Mapping[str, Op], op: Op) -> bool:
    """Whether it adds and takes away 1.5 · 2^23, which leaves whole numbers."""
    if op.kind != "sub" or op.inputs[1] != Scalar(ROUNDING):
        return False
    x = op.inputs[0]
    made = ops.get(x.name) if isinstance(x, Tensor) else None
    return made is not None and made.kind == "add" and made.inputs[1] == op.inputs[1]


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
    are_bytes = _are_bytes(codes)
    if not isinstance(weight, Deferred):
        return WholeWeights(codes, factors, are_bytes)
    key = (*weight.key, "codes")
    later = Deferred(key, weight.shape, lambda: np.rint(np.asarray(weight) / factors))
    return WholeWeights(later, factors, are_bytes)


def weights_of_integers(context: Context, x: Tensor, weight: Array) -> bool | None:
    """Of a product of whole numbers: whether int8 holds its weights; None where one of both is no
    matrix of whole numbers of at most 255."""
    if whole_range(context.ops, x) is None:
        return None
    values = np.asarray(weight, np.float32)
    if not (abs(values) <= LARGEST).all() or (values != np.rint(values)).any():
        return None
    return _are_bytes(values)


def _are_bytes(codes: F32) -> bool:
    return bool((codes >= BYTES[0]).all() and (codes <= BYTES[1]).all())


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
        low, high = whole_range(context.ops, whole) or (-LARGEST - 1, 0)
        return (whole, op.inputs[1].value) if low >= -LARGEST and high <= LARGEST else None
    if op.kind not in _KEEP_VALUES:
        return None
    parts = [factored(context, i) if isinstance(i, Tensor) else None for i in op.inputs]
    if None in parts or len({p[1] for p in parts if p}) != 1:
        return None
    wholes, scale = [p[0] for p in parts if p], next(p[1] for p in parts if p)
    size = x.groups, x.width
    return context.once(op.kind, wholes, size, x.name, op.sources, op.attributes), scale
