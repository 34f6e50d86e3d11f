"""Element-wise operators, with broadcasting: ONNX operator → arithmetic."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np
from onnx import TensorProto, helper

from compiler.static import arithmetic as a, functions as f
from compiler.static.machine import Block, Machine, Operand
from compiler.static.node import Node
from compiler.static.state import Body, State
from compiler.static.values import (
    INTEGER_BITS,
    LARGEST_EXACT,
    Data,
    Known,
    Value,
    is_integer,
    is_wide,
    type_name,
)

_BF16_OR_FP8: dict[int, str] = {
    TensorProto.BFLOAT16: "bf16",
    TensorProto.FLOAT8E4M3FN: "e4m3",
    TensorProto.FLOAT8E5M2: "e5m2",
}
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


def _modulo(v: Machine, x: Operand, y: Operand) -> Block:
    """The sign of the divisor, as Python's %."""
    q = a.floor(v, a.divide(v, x, y))
    return a.sub(v, x, a.mul(v, y, q))


def _truncated_modulo(v: Machine, x: Operand, y: Operand) -> Block:
    return a.sub(v, x, a.mul(v, y, a.integer_divide(v, x, y)))


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
        body = _guarded_operands(node.state, body, kind)
    if rule.grows and is_integer(kind):
        body = fitting(node.state, body, kind)
    return [node.state.apply(body, values, rule.result or kind)]


def _guarded_operands(state: State, body: Body, kind: int) -> Body:
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


def modulo(node: Node) -> list[Value]:
    """Mod: of integers the divisor's sign, with fmod=1 the dividend's."""
    kind, truncated = node.value(0).elem_type, bool(node.attribute("fmod", 0))
    if not is_integer(kind):
        return [_real_modulo(node, kind)]
    body = _truncated_modulo if truncated else _modulo
    return [node.state.apply(_guarded_operands(node.state, body, kind), node.values(), kind)]


def _real_modulo(node: Node, kind: int) -> Value:
    """fmod. The remainder of a quotient that was rounded to the next integer lacks a divisor."""
    state = node.state
    node.refuse_double()
    if not node.attribute("fmod", 0):
        raise state.refuse("numbers of a float type without fmod=1")

    def body(v: Machine, x: Operand, y: Operand) -> Block:
        like = x if isinstance(x, Block) else y
        assert isinstance(like, Block)
        x, y = a.block(v, x, like), a.block(v, y, like)
        quotient = a.divide(v, x, y)
        state.guard(quotient, a.INTEGERS, "a quotient is beyond 2^23")
        rest = a.remainder(v, x, a.truncate(v, quotient), y)
        side = a.sign(v, x)
        lacks = a.greater(v, 0.0, a.mul(v, rest, side))
        return a.add(v, rest, a.mul(v, a.mul(v, lacks, a.absolute(v, y)), side))

    return state.apply(body, node.values(), kind)


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
            body: Body = lambda v, x: f.integer_power(v, a.block(v, x, x), int(n))  # noqa: E731
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


def cast(node: Node) -> list[Value]:
    """Cast and CastLike, between numbers."""
    if node.op_type == "CastLike":
        target = node.value(1).elem_type
    else:
        target = int(node.attribute("to"))
    saturate = bool(node.attribute("saturate", 1))
    return [convert(node, node.value(0), target, saturate)]


def convert(node: Node, x: Value, target: int, saturate: bool = True) -> Value:
    """``x`` as numbers of another type."""
    state, source = node.state, x.elem_type
    state.check_type(source)
    state.check_type(target)
    if isinstance(x, Known):
        proto = helper.make_node("Cast", ["x"], ["y"], to=target)
        return Known(node.evaluator.run_once(proto, [x.array])[0], target)
    if source == target or target in (TensorProto.FLOAT, TensorProto.DOUBLE):
        return _relabelled(node, x, target)
    if target == _BOOL:
        body: Body = lambda v, x: a.invert(v, a.equal(v, x, 0.0))  # noqa: E731
    elif is_integer(target):
        body = _to_integer(source, target)
    elif target == TensorProto.FLOAT16:
        body = f.to_half
    elif target in _BF16_OR_FP8 and (saturate or target == TensorProto.BFLOAT16):
        kind = _BF16_OR_FP8[target]
        body = lambda v, x: v.unary("vmov", v.unary("vmov", x, kind))  # noqa: E731
    else:
        how = "" if saturate else " without saturation"
        raise state.refuse(f"rounding to {type_name(target)}{how}")
    return state.apply(body, [x], target)


def _relabelled(node: Node, x: Value, target: int) -> Value:
    assert isinstance(x, Data)
    return Data(x.roots, x.index, target, x.origins)


def _to_integer(source: int, target: int) -> Callable[..., Block]:
    bits, signed = INTEGER_BITS[target]
    from_bits, from_signed = INTEGER_BITS.get(source, (1, False))
    fits = (from_bits < bits and signed >= from_signed) or source == _BOOL

    def body(v: Machine, x: Block) -> Block:
        if not is_integer(source) and source != _BOOL:
            x = a.truncate(v, x)
        elif fits or bits > 16:
            return v.unary("vmov", x)
        return a.wrap(v, x, bits, signed) if bits <= 16 else x

    return body
