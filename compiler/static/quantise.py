"""Operators of quantised tensors, and Gemm."""

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from compiler.static import arithmetic as a
from compiler.static.cast import rounding
from compiler.static.machine import Block, Machine, Operand
from compiler.static.node import Node
from compiler.static.product import product
from compiler.static.state import Body, State
from compiler.static.values import (
    INTEGER_BITS,
    Known,
    Value,
    is_integer,
    moved,
    type_name,
)


def _along(value: Value, node: Node, shape: tuple[int, ...]) -> Value:
    """A scale or zero point in the shape of the tensor: one for all, for each entry of the axis, or
    for each block of it."""
    if not value.shape or value.shape == (1,):
        return moved(value, lambda x: x.reshape(()))
    axis, block = int(node.attribute("axis", 1)), int(node.attribute("block_size", 0))
    axis %= len(shape)
    if block:

        def repeated(x: np.ndarray) -> np.ndarray:
            wide = np.repeat(x, block, axis)
            return wide[tuple(slice(n) for n in shape)]

        return moved(value, repeated)
    turned = tuple(-1 if i == axis else 1 for i in range(len(shape)))
    return moved(value, lambda x: np.broadcast_to(x.reshape(turned), shape))


def _saturated(v: Machine, x: Block, kind: int) -> Block:
    bits, signed = INTEGER_BITS[kind]
    low = -(2.0 ** (bits - 1)) if signed else 0.0
    return a.clamp(v, x, low, low + 2.0**bits - 1)


def _requantised(kind: int, divided: bool, saturate: bool = True) -> Body:
    """round(x / scale) + zero point, or of x · scale."""

    def body(v: Machine, x: Operand, scale: Operand, point: Operand) -> Block:
        scaled = a.divide(v, x, scale) if divided else a.mul(v, x, scale)
        if not is_integer(kind):
            return rounding(kind, saturate)(v, scaled)
        # Far beyond every range nothing changes, and the zero point is still added exactly.
        steps = a.round_even(v, a.clamp(v, scaled, -(2.0**20), 2.0**20))
        return _saturated(v, a.add(v, steps, point), kind)

    return body


def quantise(node: Node) -> list[Value]:
    """QuantizeLinear, rounding to nearest even, to integers of at most 16 bits and to fp8."""
    state, x = node.state, node.value(0)
    if node.given(2):
        kind = node.value(2).elem_type
    else:
        kind = int(node.attribute("output_dtype", 0)) or TensorProto.UINT8
    state.check_type(kind)
    if INTEGER_BITS.get(kind, (1, False))[0] > 16:
        raise state.refuse(f"rounding to {type_name(kind)}")
    saturate = bool(node.attribute("saturate", 1))
    scale = _along(node.value(1), node, x.shape)
    point: Value = Known(np.zeros((), np.float32), TensorProto.FLOAT)
    if node.given(2) and is_integer(kind):
        point = _along(node.value(2), node, x.shape)
    return [state.apply(_requantised(kind, True, saturate), [x, scale, point], kind, x.shape)]


def dequantise(node: Node) -> list[Value]:
    """DequantizeLinear: (x - zero point) scale."""
    state, x, scale = node.state, node.value(0), node.value(1)
    kind = int(node.attribute("output_dtype", 0)) or scale.elem_type
    values = [x, _along(scale, node, x.shape)]
    if node.given(2) and is_integer(x.elem_type):
        values.append(_along(node.value(2), node, x.shape))

    def body(v: Machine, x: Operand, scale: Operand, *point: Operand) -> Block:
        return a.mul(v, a.sub(v, x, point[0]) if point else x, scale)

    return [state.apply(body, values, kind, x.shape)]


def _centred(state: State, x: Value, point: Value | None, rows: bool) -> Value:
    """x - zero point; the zero point of one operand, of each row, or of each column."""
    if point is None:
        return x
    if len(point.shape) == 1 and point.shape != (1,) and rows:
        point = moved(point, lambda p: p.reshape(-1, 1))
    elif point.shape == (1,):
        point = moved(point, lambda p: p.reshape(()))
    return state.apply(lambda v, x, p: a.sub(v, x, p), [x, point], TensorProto.INT32, x.shape)


def _integer_product(
    state: State, operands: Sequence[Value], points: Sequence[Value | None]
) -> Value:
    """The exact product of 8-bit integers less their zero points, which bf16 holds."""
    for operand in operands:
        if INTEGER_BITS.get(operand.elem_type, (0, True))[0] != 8:
            raise state.refuse(f"numbers of type {type_name(operand.elem_type)}")
    pairs = zip(operands, points, (True, False), strict=True)
    x, w = (_centred(state, operand, point, rows) for operand, point, rows in pairs)
    return product(state, x, w, TensorProto.INT32, (8, 8))


def matmul_integer(node: Node) -> list[Value]:
    """MatMulInteger."""
    points = [node.value(i) if node.given(i) else None for i in (2, 3)]
    return [_integer_product(node.state, (node.value(0), node.value(1)), points)]


def qlinear_matmul(node: Node) -> list[Value]:
    """QLinearMatMul: the product's steps are a_scale · b_scale / y_scale of the result's."""
    state = node.state
    x, x_scale, x_point, w, w_scale, w_point, y_scale, y_point = (node.value(i) for i in range(8))
    total = _integer_product(state, (x, w), (x_point, w_point))
    x_scale = moved(x_scale, lambda s: s.reshape(-1, 1) if s.size > 1 else s.reshape(()))
    w_scale, y_scale, y_point = (
        moved(s, lambda s: s.reshape(()) if s.size == 1 else s) for s in (w_scale, y_scale, y_point)
    )
    ratio = state.apply(
        lambda v, p, q, r: a.divide(v, a.mul(v, p, q), r),
        [x_scale, w_scale, y_scale],
        TensorProto.FLOAT,
    )
    kind = y_point.elem_type
    body = _requantised(kind, False)
    return [state.apply(body, [total, ratio, y_point], kind, total.shape)]


def gemm(node: Node) -> list[Value]:
    """Gemm: alpha A B + beta C, each of A and B possibly transposed."""
    state = node.state
    x, w = node.value(0), node.value(1)
    kind = x.elem_type
    if node.attribute("transA", 0):
        x = moved(x, lambda m: m.T)
    if node.attribute("transB", 0):
        w = moved(w, lambda m: m.T)
    total = product(state, x, w, kind)
    alpha, beta = (float(node.attribute(name, 1.0)) for name in ("alpha", "beta"))
    values = [total] + ([node.value(2)] if node.given(2) else [])
    if is_integer(kind) and (alpha, beta) != (1.0, 1.0):
        raise state.refuse("integers with a factor")

    def body(v: Machine, x: Operand, *bias: Operand) -> Block:
        result = a.mul(v, x, alpha)
        for each in bias:
            scaled = a.mul(v, each, beta) if isinstance(each, Block) else each * beta
            result = a.add(v, result, scaled)
        return result

    return [state.apply(body, values, kind, total.shape)]
