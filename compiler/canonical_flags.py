"""Features that are 0 or 1 and stand for booleans: which experts may be chosen at all.

Comparisons make them of differences, which are 0 for equals alone: 2^127 times the smallest normal
number is 2, so what is above 0 becomes 1. A difference of NaN stays NaN.
"""

import onnx

from compiler.canonical_context import Context, refuse
from compiler.canonical_elementwise import LARGEST_FLOAT, Emitter, operand_of, operands
from compiler.canonical_operands import scalar
from compiler.graph import Scalar, Tensor
from compiler.movement import Moved


def is_flag(context: Context, name: str) -> bool:
    """Whether it is, in any shape, a tensor of zeros and ones."""
    value = context.values.get(name)
    root = value.root if isinstance(value, Moved) else None
    return isinstance(root, Tensor) and root.name in context.flags


def negate(context: Context, node: onnx.NodeProto) -> None:
    """Not: 1 - x."""
    if not is_flag(context, node.input[0]):
        refuse(node, "it is supported for masks of chosen features only")
    result = inverse(Emitter(context, node), context.tensor(node.input[0], node))
    context.flags.add(result.name)
    context.define(node.output[0], result, node)


def compare(context: Context, node: onnx.NodeProto) -> None:
    """Greater, Less, GreaterOrEqual, LessOrEqual of two values, at least one an activation."""
    size = context.layout(node.output[0], node)
    left, right = operands(context, node)
    kind, emitter = node.op_type, Emitter(context, node)
    if kind in ("Less", "GreaterOrEqual"):
        left, right = right, left
    difference = emitter.binary("sub", left, right, (size.groups, size.width))
    above = emitter.emit("max", emitter.emit("mul", difference, Scalar(2.0**127)), Scalar(0.0))
    result = emitter.emit("min", above, Scalar(1.0))
    if kind.endswith("OrEqual"):
        result = inverse(emitter, result)
    context.flags.add(result.name)
    context.define(node.output[0], result, node)


def join(context: Context, node: onnx.NodeProto) -> None:
    """And, Or of flags."""
    if not all(is_flag(context, name) for name in node.input):
        refuse(node, "it is supported for comparisons and masks of chosen features only")
    size, emitter = context.layout(node.output[0], node), Emitter(context, node)
    left, right = operands(context, node)
    kind = "mul" if node.op_type == "And" else "max"
    result = emitter.binary(kind, left, right, (size.groups, size.width))
    context.flags.add(result.name)
    context.define(node.output[0], result, node)


def where(context: Context, node: onnx.NodeProto) -> None:
    """Where(flag, a, b) of values that are finite, or a number that may be -inf."""
    condition, first, second = node.input
    if not is_flag(context, condition):
        refuse(node, "it is supported in attention, and behind comparisons of features, only")
    size, emitter = context.layout(node.output[0], node), Emitter(context, node)
    flag, number, other = context.tensor(condition, node), scalar(context, first), second
    if number is None and (number := scalar(context, second)) is not None:
        flag, other = inverse(emitter, flag), first
    if number is not None and not context.is_known(other):
        result = filled(emitter, flag, number, context.tensor(other, node))
    else:
        shape = size.groups, size.width
        if (flag.groups, flag.width) != shape:
            refuse(node, "its condition must be of the result's features, or choose a number")
        a, b = (operand_of(context, name, node) for name in (first, second))
        taken = emitter.binary("mul", a, flag, shape)
        result = emitter.binary(
            "add", taken, emitter.binary("mul", b, inverse(emitter, flag), shape), shape
        )
    if (result.groups, result.width) != (size.groups, size.width):
        refuse(node, "its numbers must be in place of features of the result's shape")
    context.define(node.output[0], result, node)


def inverse(emitter: Emitter, flag: Tensor) -> Tensor:
    """1 - flag."""
    return emitter.emit("add", emitter.emit("mul", flag, Scalar(-1.0)), Scalar(1.0))


def filled(emitter: Emitter, flag: Tensor, number: float, x: Tensor) -> Tensor:
    """x, but the number (of -inf the least finite one) where the flag is 1; of x's size."""
    kept, finite = inverse(emitter, flag), emitter.emit("max", x, Scalar(-LARGEST_FLOAT))
    result = emitter.emit("mul", finite, kept)
    if number:
        result = emitter.emit(
            "add", result, emitter.emit("mul", flag, Scalar(max(number, -LARGEST_FLOAT)))
        )
    return result
