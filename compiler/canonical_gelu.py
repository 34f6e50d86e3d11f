"""Erf, and the activations that are made of it or come near to it."""

import math

import onnx

from compiler.canonical_context import Context, attribute, refuse
from compiler.canonical_elementwise import Emitter
from compiler.canonical_operands import operand
from compiler.graph import Scalar, Tensor

# erf(x) = 1 - t (a1 + t (a2 + …)) exp(-x²), t = 1 / (1 + p x), for x ≥ 0, to 1.5e-7: Abramowitz and
# Stegun, Handbook of Mathematical Functions (1964), 7.1.26.
_P = 0.3275911
_A = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
_FLAT = 8.0  # erf is ±1 in fp32 from 4 on; squares stay finite
_TINY = 1e-30  # instead of 0, to divide by
_TANH_CUBE, _TANH_SLOPE = 0.044715, math.sqrt(2 / math.pi)


def erf(context: Context, node: onnx.NodeProto) -> None:
    """Erf: x / |x| · (1 - tail(|x|))."""
    x, emitter = context.tensor(node.input[0], node), Emitter(context, node)
    x = emitter.emit("min", emitter.emit("max", x, Scalar(-_FLAT)), Scalar(_FLAT))
    size = _absolute(emitter, x)
    near_one = emitter.emit("add", _negative(emitter, _tail(emitter, size)), Scalar(1.0))
    inverse = emitter.emit("recip", emitter.emit("max", size, Scalar(_TINY)))
    sign = emitter.emit("mul", x, inverse)
    context.define(node.output[0], emitter.emit("mul", near_one, sign), node)


def gelu(context: Context, node: onnx.NodeProto) -> None:
    """Gelu in both forms: x (1 + erf(x / √2)) / 2 = max(x, 0) - |x| tail(|x| / √2) / 2, and
    x sigmoid(2 √(2/π) (x + 0.044715 x³)); onnxruntime's BiasGelu and FastGelu add a bias before."""
    form = attribute(node, "approximate", b"none").decode()
    x, emitter = context.tensor(node.input[0], node), Emitter(context, node)
    if len(node.input) > 1 and node.input[1]:
        layout = context.layout(node.output[0], node)
        x = emitter.emit("add", x, operand(context, node.input[1], layout, node))
    if form == "tanh" or node.op_type == "FastGelu":
        cubic = emitter.emit("mul", emitter.emit("mul", x, x), Scalar(_TANH_CUBE))
        slope = emitter.emit("add", cubic, Scalar(1.0))
        argument = emitter.emit("mul", emitter.emit("mul", x, slope), Scalar(2 * _TANH_SLOPE))
        result = emitter.emit("mul", x, emitter.emit("sigmoid", argument))
    elif form == "none":
        size = _absolute(emitter, x)
        scaled = emitter.emit("min", emitter.emit("mul", size, Scalar(0.5**0.5)), Scalar(_FLAT))
        half = emitter.emit("mul", emitter.emit("mul", size, Scalar(0.5)), _tail(emitter, scaled))
        result = emitter.emit("sub", emitter.emit("max", x, Scalar(0.0)), half)
    else:
        refuse(node, f'its approximate must be "none" or "tanh", not {form!r}')
    context.define(node.output[0], result, node)


def quick_gelu(context: Context, node: onnx.NodeProto) -> None:
    """onnxruntime's QuickGelu: x sigmoid(alpha x)."""
    x, emitter = context.tensor(node.input[0], node), Emitter(context, node)
    scaled = emitter.emit("mul", x, Scalar(attribute(node, "alpha", 1.702)))
    context.define(node.output[0], emitter.emit("mul", x, emitter.emit("sigmoid", scaled)), node)


def _negative(emitter: Emitter, x: Tensor) -> Tensor:
    return emitter.emit("mul", x, Scalar(-1.0))


def _absolute(emitter: Emitter, x: Tensor) -> Tensor:
    return emitter.emit("max", x, _negative(emitter, x))


def _tail(emitter: Emitter, x: Tensor) -> Tensor:
    """1 - erf(x) for 0 ≤ x ≤ _FLAT."""
    t = emitter.emit("recip", emitter.emit("add", emitter.emit("mul", x, Scalar(_P)), Scalar(1.0)))
    polynomial = emitter.emit("mul", t, Scalar(_A[-1]))
    for factor in reversed(_A[:-1]):
        polynomial = emitter.emit("mul", emitter.emit("add", polynomial, Scalar(factor)), t)
    power = emitter.emit("exp", _negative(emitter, emitter.emit("mul", x, x)))
    return emitter.emit("mul", polynomial, power)
