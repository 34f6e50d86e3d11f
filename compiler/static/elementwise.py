"""Element-wise operators, with broadcasting: ONNX operator → arithmetic."""

import math
from dataclasses import dataclass
from functools import partial, reduce

import numpy as np
from onnx import TensorProto

from compiler.static import arithmetic as a, functions as f
from compiler.static.integers import fitting, guarded_operands
from compiler.static.machine import Block, Machine, Operand
from compiler.static.node import Node
from compiler.static.state import Body
from compiler.static.values import (
    Known,
    Value,
    is_integer,
    type_name,
)

_WIDEST_POWER = 1 << 18  # integers up to it come out of `functions.power` within ½


@dataclass(frozen=True)
class Rule:
    """``integer``: how it is done with integers (None: not at all); ``grows``: integers that come
    out may leave their type; ``jumps``: a slightly different input gives quite another output."""

    real: Body | None
    integer: Body | None = None
    grows: bool = False
    jumps: bool = False
    result: int = 0  # its type; 0: that of the first input


def _fold(body: Body) -> Body:
    return lambda v, first, *rest: reduce(lambda x, y: body(v, x, y), rest, first)


def _mean(v: Machine, *values: Operand) -> Block:
    total = _fold(a.add)(v, *values)
    return a.mul(v, total, 1.0 / len(values))


def _negative(v: Machine, x: Block) -> Block:
    return a.mul(v, x, -1.0)


def _different(v: Machine, x: Operand, y: Operand) -> Block:
    return a.absolute(v, a.sub(v, x, y))


def _or(v: Machine, x: Operand, y: Operand) -> Block:
    return a.maximum(v, x, y)


def _at_most(v: Machine, x: Operand, y: Operand) -> Block:
    return a.maximum(v, a.greater(v, y, x), a.equal(v, x, y))


def _not_number(v: Machine, x: Block) -> Block:
    return a.invert(v, a.is_number(v, x))


_BOOL = TensorProto.BOOL
RULES: dict[str, Rule] = {
    "Add": Rule(a.add, a.add, grows=True),
    "Sub": Rule(a.sub, a.sub, grows=True),
    "Mul": Rule(a.mul, a.mul, grows=True),
    "Div": Rule(a.divide, a.integer_divide),
    "Max": Rule(_fold(a.maximum), _fold(a.maximum)),
    "Min": Rule(_fold(a.minimum), _fold(a.minimum)),
    "Sum": Rule(_fold(a.add)),
    "Mean": Rule(_mean),
    "Abs": Rule(a.absolute, a.absolute),
    "Neg": Rule(_negative, _negative, grows=True),
    "Sign": Rule(None, a.sign),
    "Reciprocal": Rule(lambda v, x: a.divide(v, 1.0, x)),
    "Sqrt": Rule(a.square_root),
    "Exp": Rule(f.exp),
    "Log": Rule(f.log),
    "Erf": Rule(f.erf),
    "Tanh": Rule(f.tanh),
    "Sigmoid": Rule(f.sigmoid),
    "Softplus": Rule(f.softplus),
    "Relu": Rule(lambda v, x: a.maximum(v, x, 0.0), lambda v, x: a.maximum(v, x, 0.0)),
    "Floor": Rule(a.floor, jumps=True),
    "Ceil": Rule(a.ceil, jumps=True),
    "Round": Rule(a.round_even, jumps=True),
    "Equal": Rule(a.equal, a.equal, jumps=True, result=_BOOL),
    "Greater": Rule(a.greater, a.greater, jumps=True, result=_BOOL),
    "Less": Rule(lambda v, x, y: a.greater(v, y, x), None, jumps=True, result=_BOOL),
    "LessOrEqual": Rule(_at_most, _at_most, jumps=True, result=_BOOL),
    "GreaterOrEqual": Rule(lambda v, x, y: _at_most(v, y, x), None, jumps=True, result=_BOOL),
    "IsNaN": Rule(_not_number, result=_BOOL),
    "And": Rule(None, a.mul, result=_BOOL),
    "Or": Rule(None, _or, result=_BOOL),
    "Xor": Rule(None, _different, result=_BOOL),
    "Not": Rule(None, a.invert, result=_BOOL),
}
for _name in ("Less", "GreaterOrEqual"):
    _rule = RULES[_name]
    RULES[_name] = Rule(_rule.real, _rule.real, jumps=True, result=_BOOL)
RULES["Sign"] = Rule(
    lambda v, x: a.select(v, a.is_number(v, x), a.sign(v, x), math.nan), a.sign, jumps=True
)


def elementwise(node: Node) -> list[Value]:
    """By `RULES`."""
    rule, values = RULES[node.op_type], node.values()
    kinds = {value.elem_type for value in values}
    if len(kinds) != 1:
        names = ", ".join(sorted(type_name(kind) for kind in kinds))
        raise node.state.refuse(f"inputs of different types, {names}")
    (kind,) = kinds
    whole_numbers = is_integer(kind) or kind == _BOOL
    body = rule.integer if whole_numbers else rule.real
    if body is None:
        raise node.state.refuse(f"numbers of type {type_name(kind)}")
    if rule.jumps:
        node.refuse_double()
    if whole_numbers and node.op_type == "Div":
        body = guarded_operands(node.state, body, kind)
    if rule.grows and is_integer(kind):
        body = fitting(node.state, body, kind)
    return [node.state.apply(body, values, rule.result or kind)]


def where(node: Node) -> list[Value]:
    kind = node.value(1).elem_type
    shape = np.broadcast_shapes(*(value.shape for value in node.values()))
    first, *rest = node.values()
    condition = node.state.broadcast(first, shape)

    def body(v: Machine, c: Operand, x: Operand, y: Operand) -> Block:
        assert isinstance(c, Block)
        return a.select(v, c, x, y)

    if isinstance(condition, Known) and condition.array.size == 1:
        return [node.state.apply(_copy, [rest[0 if condition.array.item() else 1]], kind, shape)]
    return [node.state.apply(body, [condition, *rest], kind, shape)]


def _copy(v: Machine, x: Operand) -> Block:
    assert isinstance(x, Block)
    return v.unary("vmov", x)


def clip(node: Node) -> list[Value]:
    """Clip, whose limits may be missing; the upper one wins."""
    x = node.value(0)
    bounds = [(a.maximum, 1), (a.minimum, 2)]
    given = [(body, node.value(i)) for body, i in bounds if node.given(i)]

    def body(v: Machine, x: Block, *limits: Operand) -> Block:
        for (function, _), limit in zip(given, limits, strict=True):
            x = function(v, x, limit)
        return v.unary("vmov", x) if not given else x

    return [node.state.apply(body, [x, *(limit for _, limit in given)], x.elem_type, x.shape)]


def is_infinite(node: Node) -> list[Value]:
    node.refuse_double()
    up, down = (node.attribute(f"detect_{name}", 1) for name in ("positive", "negative"))
    largest = float(np.finfo(np.float32).max)

    def body(v: Machine, x: Block) -> Block:
        above = a.mul(v, a.greater(v, x, largest), float(up))
        return a.add(v, above, a.mul(v, a.greater(v, -largest, x), float(down)))

    return [node.state.apply(body, node.values(), _BOOL)]


def circular(node: Node) -> list[Value]:
    """Sin and Cos."""
    state, turns = node.state, 1.0 if node.op_type == "Cos" else 0.0

    def body(v: Machine, x: Block) -> Block:
        state.guard(x, f.LARGEST_ANGLE, f"an angle is beyond {f.LARGEST_ANGLE:.0f}")
        return f.sine(v, x, turns)

    return [state.apply(body, node.values(), node.value(0).elem_type)]


def _integer_power(v: Machine, x: Block, n: int) -> Block:
    return f.integer_power(v, a.block(v, x, x), n)


def power(node: Node) -> list[Value]:
    """Pow: products where the exponent is a small integer at compile time."""
    base, exponent = node.value(0), node.value(1)
    kind, state = base.elem_type, node.state
    if isinstance(exponent, Known) and exponent.array.size == 1:
        n = float(exponent.array.astype(np.float64).reshape(()))
        shape = np.broadcast_shapes(base.shape, exponent.shape)
        if n == 0.5 and not is_integer(kind):
            return [state.apply(lambda v, x: a.square_root(v, x), [base], kind, shape)]
        if n.is_integer() and 1 <= n <= 16:
            body: Body = partial(_integer_power, n=int(n))
            body = fitting(state, body, kind) if is_integer(kind) else body
            return [state.apply(body, [base], kind, shape)]

    def general(v: Machine, x: Operand, y: Operand) -> Block:
        like = x if isinstance(x, Block) else y
        assert isinstance(like, Block)
        result = f.power(v, a.block(v, x, like), a.block(v, y, like))
        if not is_integer(kind):
            return result
        state.guard(result, _WIDEST_POWER, "a power is beyond ±2^18")
        return a.round_even(v, result)

    body = fitting(state, general, kind) if is_integer(kind) else general
    return [state.apply(body, [base, exponent], kind)]
