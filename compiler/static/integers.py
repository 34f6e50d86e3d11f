"""Integers in fp32: results that stay exact, quotients and remainders."""

import math

import numpy as np

from compiler.static import arithmetic as a
from compiler.static.machine import Block, Machine, Operand
from compiler.static.node import Node
from compiler.static.state import Body, State
from compiler.static.values import (
    INTEGER_BITS,
    LARGEST_EXACT,
    Value,
    is_integer,
    is_wide,
    type_name,
)


def guarded_operands(state: State, body: Body, kind: int) -> Body:
    """Quotients are exact below 2^23."""

    def guarded(v: Machine, *operands: Operand) -> Block:
        for each in operands:
            if isinstance(each, Block) and is_wide(kind):
                state.guard(each, LARGEST_EXACT >> 1, "an integer to divide is not below 2^23")
        return body(v, *operands)

    return guarded


def fitting(state: State, body: Body, kind: int) -> Body:
    """Results of integers: exact, and modulo 2^bits in narrow types, as ONNX's reference does."""
    bits, signed = INTEGER_BITS[kind]

    def fit(v: Machine, *operands: Operand) -> Block:
        result = body(v, *operands)
        if bits > 8:
            state.guard_exact(result, kind)
        if not signed and bits > 16:
            below = a.maximum(v, a.mul(v, result, -1.0), 0.0)
            state.guard(below, 0, f"a number of type {type_name(kind)} is negative")
        return a.wrap(v, result, bits, signed) if bits <= 16 else result

    return fit


def _modulo(v: Machine, x: Operand, y: Operand) -> Block:
    """The sign of the divisor, as Python's %."""
    q = a.floor(v, a.divide(v, x, y))
    return a.sub(v, x, a.mul(v, y, q))


def _truncated_modulo(v: Machine, x: Operand, y: Operand) -> Block:
    return a.sub(v, x, a.mul(v, y, a.integer_divide(v, x, y)))


def modulo(node: Node) -> list[Value]:
    """Mod: of integers the divisor's sign, with fmod=1 the dividend's."""
    kind, truncated = node.value(0).elem_type, bool(node.attribute("fmod", 0))
    if not is_integer(kind):
        return [_real_modulo(node, kind)]
    body = _truncated_modulo if truncated else _modulo
    return [node.state.apply(guarded_operands(node.state, body, kind), node.values(), kind)]


def _real_modulo(node: Node, kind: int) -> Value:
    """fmod. The remainder of a quotient that was rounded to the next integer lacks a divisor."""
    state = node.state
    node.refuse_double()
    floored = not node.attribute("fmod", 0)

    def body(v: Machine, x: Operand, y: Operand) -> Block:
        like = x if isinstance(x, Block) else y
        assert isinstance(like, Block)
        x, y = a.block(v, x, like), a.block(v, y, like)
        finite, endless = _is_finite(v, x), a.invert(v, _is_finite(v, y))
        defined = a.mul(v, a.mul(v, finite, a.is_number(v, y)), a.absolute(v, a.sign(v, y)))
        quotient = a.select(v, a.mul(v, defined, a.invert(v, endless)), a.divide(v, x, y), 0.0)
        state.guard(quotient, a.INTEGERS, "a quotient is beyond 2^23")
        rest = a.remainder(v, x, a.truncate(v, quotient), y)
        rest = a.select(v, endless, x, rest)
        side = a.sign(v, x)
        lacks = a.greater(v, 0.0, a.mul(v, a.sign(v, rest), side))
        rest = a.select(v, lacks, a.add(v, rest, a.mul(v, a.absolute(v, y), side)), rest)
        if floored:
            other = a.greater(v, 0.0, a.mul(v, a.sign(v, rest), a.sign(v, y)))
            rest = a.select(v, other, a.add(v, rest, y), rest)
        return a.select(v, defined, rest, math.nan)

    return state.apply(body, node.values(), kind)


def _is_finite(v: Machine, x: Block) -> Block:
    """0 for infinities and NaN."""
    large = a.greater(v, a.absolute(v, x), float(np.finfo(np.float32).max))
    return a.mul(v, a.is_number(v, x), a.invert(v, large))
