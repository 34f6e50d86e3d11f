"""Element-wise operators, reductions and Softmax in terms of the canonical ones.

The first input of a canonical operator has the output's shape, so operands are swapped where they
commute. There is no division: Div(a, b) = a · recip(b), and recip(sqrt(x)) = rsqrt(x).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from compiler.canonical_context import Context, Layout, attribute, refuse
from compiler.canonical_operands import operand, scalar
from compiler.evaluate_node import source_of
from compiler.graph import Constant, Operand, Scalar, Source, Table, Tensor

BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div", "Max": "max", "Min": "min"}
UNARY = {"Sigmoid": "sigmoid", "Exp": "exp", "Sqrt": "sqrt", "Tanh": "tanh"}
POWERS = {2.0: "square", 3.0: "cube", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "recip", 1.0: "same"}
LARGEST_FLOAT = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Emitter:
    """Emits the operators of one ONNX node."""

    context: Context
    node: onnx.NodeProto

    @property
    def sources(self) -> Sequence[Source]:
        return (source_of(self.node),)

    def emit(
        self,
        kind: str,
        *inputs: Operand,
        groups: int = 0,
        width: int = 0,
        attributes: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """An operator shaped as its first input unless `groups` or `width` say otherwise."""
        first = inputs[0]
        assert isinstance(first, Tensor)
        size = groups or first.groups, width or first.width
        name = self.node.output[0]
        return self.context.emit(kind, inputs, size, name, self.sources, attributes)

    def apart(self, x: Tensor) -> Tensor:
        """x as rows of their own, where it is one row cut into groups: that row stays as it is."""
        made, context = self.context.ops[x.name], self.context
        root = made.inputs[0] if made.kind == "view" else x
        if not isinstance(root, Tensor) or root.groups > 1:
            return x
        count = root.width
        columns = {"source": (0,) * count, "position": tuple(range(count)), "signs": (1,) * count}
        own = self.emit("arrange", root, groups=1, width=count, attributes=columns)
        return context.view(own, (x.groups, x.width), f"{x.name}.groups", self.sources)

    def recip(self, x: Operand) -> Operand:
        """1 / x: an operator for a tensor, a value worked out now for a constant."""
        with np.errstate(divide="ignore"):
            if isinstance(x, Scalar):
                return Scalar(float(np.divide(1.0, x.value)))
            if isinstance(x, Constant):
                value = np.float32(1) / np.asarray(self.context.constants[x.name])
                return self.context.add_constant(f"{x.name}.recip", value)
            if isinstance(x, Table):
                value = np.float32(1) / self.context.tables[x.name]
                return self.context.add_table(f"{x.name}.recip", value)
        root = self.context.ops.get(x.name)
        if root is not None and root.kind == "sqrt":
            return self.emit("rsqrt", root.inputs[0])
        return self.emit("recip", x)

    def binary(self, kind: str, left: Operand, right: Operand, size: tuple[int, int]) -> Tensor:
        """`kind` of two operands, at least one a tensor, decomposed; the output has `size`."""
        if kind == "div":
            inverse = self.recip(right)
            if left == Scalar(1.0) and isinstance(inverse, Tensor):
                return inverse
            kind, right = "mul", inverse
        if not _has_size(left, size):
            if kind == "sub":
                assert isinstance(right, Tensor)
                kind, right = "add", self.emit("mul", right, Scalar(-1.0))
            left, right = right, left
        if not _has_size(left, size):
            refuse(self.node, f"no operand has the result's {size[0]} groups of {size[1]}")
        return self.emit(kind, left, right)


def _has_size(x: Operand, size: tuple[int, int]) -> bool:
    return isinstance(x, Tensor) and (x.groups, x.width) == size


def binary(context: Context, node: onnx.NodeProto) -> None:
    """Add, Sub, Mul, Div, Max, Min of two values, at least one an activation."""
    if len(node.input) != 2:
        refuse(node, f"it must have two inputs, not {len(node.input)}")
    out = context.layout(node.output[0], node)
    left, right = operands(context, node)
    size = out.groups, out.width
    result = Emitter(context, node).binary(BINARY[node.op_type], left, right, size)
    context.define(node.output[0], result, node)


def operands(context: Context, node: onnx.NodeProto) -> list[Operand]:
    """Both inputs of an element-wise node."""
    return [operand_of(context, name, node) for name in node.input]


def operand_of(context: Context, name: str, node: onnx.NodeProto) -> Operand:
    """An input of an element-wise node. The output has one axis of tokens: theirs coincide."""
    if context.is_known(name):
        return operand(context, name, context.layout(node.output[0], node), node)
    return context.tensor(name, node)


def unary(context: Context, node: onnx.NodeProto) -> None:
    """Sigmoid, Exp, Sqrt, Tanh, Reciprocal."""
    x, emitter = context.tensor(node.input[0], node), Emitter(context, node)
    result = emitter.recip(x) if node.op_type == "Reciprocal" else None
    result = result or emitter.emit(UNARY[node.op_type], x)
    assert isinstance(result, Tensor)
    context.define(node.output[0], result, node)


def clip(context: Context, node: onnx.NodeProto) -> None:
    """Clip and Relu: between two numbers, either of which may be left out."""
    x, emitter = context.tensor(node.input[0], node), Emitter(context, node)
    limits: list[float | None] = [0.0 if node.op_type == "Relu" else None, None]
    for index, name in enumerate(node.input[1:3]):
        limits[index] = scalar(context, name) if name else None
        if name and limits[index] is None:
            refuse(node, f'its limit "{name}" must be one number')
    for kind, limit in zip(("max", "min"), limits, strict=True):
        if limit is not None:
            x = emitter.emit(kind, x, Scalar(limit))
    context.define(node.output[0], x, node)


def absolute(context: Context, node: onnx.NodeProto) -> None:
    """Abs."""
    x, emitter = context.tensor(node.input[0], node), Emitter(context, node)
    context.define(
        node.output[0], emitter.emit("max", x, emitter.emit("mul", x, Scalar(-1.0))), node
    )


def power(context: Context, node: onnx.NodeProto) -> None:
    """Pow with one of the exponents in POWERS."""
    exponent = scalar(context, node.input[1])
    kind = POWERS.get(exponent) if exponent is not None else None
    if kind is None:
        wanted = ", ".join(map(str, POWERS))
        refuse(node, f"the exponent must be one of {wanted}, not {exponent}")
    x = context.tensor(node.input[0], node)
    emitter = Emitter(context, node)
    if kind in ("square", "cube"):
        square = emitter.emit("mul", x, x)
        x = square if kind == "square" else emitter.emit("mul", square, x)
    elif kind != "same":
        x = emitter.emit(kind, x)
    context.define(node.output[0], x, node)


def reduce(context: Context, node: onnx.NodeProto) -> None:
    """ReduceSum, ReduceMean, ReduceMax over the last axis; sums also over a token's groups."""
    layout = context.layout(node.input[0], node)
    axes = attribute(node, "axes")
    if len(node.input) > 1 and node.input[1]:
        axes = context.known(node.input[1])[0].reshape(-1).tolist()
    if node.op_type == "ReduceSum" and _are_groups(layout, axes or []):
        x, emitter = context.tensor(node.input[0], node), Emitter(context, node)
        context.define(node.output[0], emitter.emit("sum_groups", x, groups=1), node)
        return
    if not layout.width_is_last or [a % layout.rank for a in axes or []] != [layout.rank - 1]:
        refuse(node, f"it must reduce the last axis, features of one token, not axes {axes}")
    x, emitter = context.tensor(node.input[0], node), Emitter(context, node)
    if node.op_type == "ReduceMax" and x.groups > 1:  # of experts in groups
        x = emitter.apart(x)
    result = emitter.emit("reduce_max" if node.op_type == "ReduceMax" else "reduce_sum", x, width=1)
    if node.op_type == "ReduceMean":
        result = emitter.emit("mul", result, Scalar(1.0 / x.width))
    context.define(node.output[0], result, node)


def _are_groups(layout: Layout, axes: Sequence[int]) -> bool:
    """Whether these are all axes of a token but its last one, 1 aside: its groups."""
    token = range(layout.token_axis, layout.token_axis + 1)
    others = [axis for axis in range(layout.rank - 1) if axis not in token]
    sizes = dict(zip(others, layout.rest, strict=False))
    wide = [axis for axis in others if sizes[axis] > 1]
    chosen = [axis % layout.rank for axis in axes]
    one_axis = layout.width_is_last and layout.heads == 1
    return one_axis and bool(wide) and set(wide) <= set(chosen) <= set(others)


def launch_max(context: Context, node: onnx.NodeProto) -> None:
    """The largest number of all tokens of a launch, or 0; the same for each of them."""
    layout = context.layout(node.input[0], node)
    if layout.token_axis != 1 or layout.rank != 3:
        refuse(node, f"it must be over [batch, tokens, features], not over {layout.rank} axes")
    x, emitter = context.tensor(node.input[0], node), Emitter(context, node)
    context.define(node.output[0], emitter.emit("launch_max", x, groups=1, width=1), node)


def softmax(context: Context, node: onnx.NodeProto) -> None:
    """Softmax over the last axis, outside attention: exp(x - max) / sum."""
    layout = context.layout(node.input[0], node)
    axis = attribute(node, "axis", -1) % layout.rank
    if not layout.width_is_last or axis != layout.rank - 1:
        refuse(node, f"it must be over the last axis, features of one token, not axis {axis}")
    x, emitter = context.tensor(node.input[0], node), Emitter(context, node)
    shifted = emitter.emit("sub", x, emitter.emit("reduce_max", x, width=1))
    powers = emitter.emit("exp", shifted)
    inverse = emitter.emit("recip", emitter.emit("reduce_sum", powers, width=1))
    context.define(node.output[0], emitter.emit("mul", powers, inverse), node)
