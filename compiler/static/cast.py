"""Cast: numbers of one type as numbers of another."""

import math
from collections.abc import Callable

from onnx import TensorProto, helper

from compiler.static import arithmetic as a, functions as f
from compiler.static.machine import Block, Machine
from compiler.static.node import Node
from compiler.static.state import Body
from compiler.static.values import INTEGER_BITS, Data, Known, Value, is_integer

_BOOL = TensorProto.BOOL
_NARROW: dict[int, f.Narrow] = {
    TensorProto.FLOAT16: f.Narrow(10, 2.0**-14, 65504, math.inf),
    TensorProto.FLOAT8E4M3FN: f.Narrow(3, 2.0**-6, 448, math.nan),
    TensorProto.FLOAT8E4M3FNUZ: f.Narrow(3, 2.0**-7, 240, math.nan),
    TensorProto.FLOAT8E5M2: f.Narrow(2, 2.0**-14, 57344, math.inf),
    TensorProto.FLOAT8E5M2FNUZ: f.Narrow(2, 2.0**-15, 57344, math.nan),
    TensorProto.FLOAT4E2M1: f.Narrow(1, 1.0, 6, 6.0),
}


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
    if target == _BOOL or is_integer(target):
        node.refuse_double()
    if source == target or target in (TensorProto.FLOAT, TensorProto.DOUBLE):
        return _relabelled(node, x, target)
    if target == _BOOL:
        body: Body = _is_not_zero
    elif is_integer(target):
        body = _to_integer(source, target)
    else:
        body = rounding(target, saturate and target != TensorProto.FLOAT16)
    return state.apply(body, [x], target)


def _is_not_zero(v: Machine, x: Block) -> Block:
    return a.invert(v, a.equal(v, x, 0.0))


def rounding(target: int, saturate: bool) -> Body:
    """Of a float type that is narrower than fp32."""
    if target == TensorProto.BFLOAT16:
        return lambda v, x: v.unary("vmov", v.unary("vmov", x, "bf16"))
    return lambda v, x: f.to_narrow(v, x, _NARROW[target], saturate)


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
