"""Features that are 0 or 1 and stand for booleans: which experts may be chosen at all."""

import onnx

from compiler.canonical_context import Context, refuse
from compiler.canonical_elementwise import LARGEST_FLOAT, Emitter
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
    emitter, x = Emitter(context, node), context.tensor(node.input[0], node)
    result = emitter.emit("add", emitter.emit("mul", x, Scalar(-1.0)), Scalar(1.0))
    context.flags.add(result.name)
    context.define(node.output[0], result, node)


def where(context: Context, node: onnx.NodeProto) -> None:
    """Where(flag, number, x): x, but the number (of -inf the least finite one) where it is 1."""
    condition, number, other = node.input
    value = scalar(context, number)
    if not is_flag(context, condition) or value is None or context.is_known(other):
        refuse(node, "it is supported in attention, and for numbers in place of features, only")
    emitter, x = Emitter(context, node), context.tensor(other, node)
    flag = context.tensor(condition, node)
    kept = emitter.emit("add", emitter.emit("mul", flag, Scalar(-1.0)), Scalar(1.0))
    result = emitter.emit("mul", emitter.emit("max", x, Scalar(-LARGEST_FLOAT)), kept)
    if value:
        filled = emitter.emit("mul", flag, Scalar(max(value, -LARGEST_FLOAT)))
        result = emitter.emit("add", result, filled)
    context.define(node.output[0], result, node)
