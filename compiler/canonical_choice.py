"""Choices: which of a token's features are the largest, and what is done with their numbers.

TopK and ArgMax give indices, (k, 1), one after the other. Features are picked by them, or replaced:
by products with zeros and ones, which are exact.
"""

from collections.abc import Sequence

import numpy as np
import onnx

from compiler.canonical_context import Context, attribute, refuse
from compiler.canonical_elementwise import LARGEST_FLOAT, Emitter
from compiler.canonical_flags import filled
from compiler.canonical_operands import scalar
from compiler.graph import Operand, Scalar, Source, Tensor
from compiler.movement import Moved


def top_k(context: Context, node: onnx.NodeProto) -> None:
    """TopK of a token's features: indices, and from them the values."""
    layout, count = context.layout(node.input[0], node), scalar(context, node.input[1])
    axis = attribute(node, "axis", -1) % layout.rank
    if count is None or not attribute(node, "largest", 1):
        refuse(node, "it must choose a fixed number of the largest features")
    if not layout.width_is_last or axis != layout.rank - 1:
        refuse(node, f"it must choose from features of one token, not along axis {axis}")
    x, emitter, k = context.tensor(node.input[0], node), Emitter(context, node), int(count)
    if not 1 <= k <= x.width:
        refuse(node, f"it must choose 1 to {x.width} of {x.width} features, not {k}")
    values, indices = (*node.output, "")[:2]
    if x.groups > 1:
        if indices in context.evaluator.consumed:
            refuse(node, f"of a choice in each of {x.groups} groups only the values can be used")
        context.define(values, _largest(emitter, x, k), node)
        return
    index = emitter.emit("top_index", x, groups=k, width=1)
    if indices:
        context.define(indices, index, node)
    if values in context.evaluator.consumed:
        context.define(values, _picked(context, emitter, x, index), node)


def _largest(emitter: Emitter, x: Tensor, count: int) -> Tensor:
    """The largest features of each group, in order, as (groups, count)."""
    x = emitter.apart(x)
    found = [emitter.emit("reduce_max", x, width=1)]
    for _ in range(count - 1):
        x = emitter.emit("drop_max", x)
        found.append(emitter.emit("reduce_max", x, width=1))
    columns = {"source": tuple(range(count)), "position": (0,) * count, "signs": (1,) * count}
    return emitter.emit("arrange", *found, width=count, attributes=columns)


def arg_max(context: Context, node: onnx.NodeProto) -> None:
    """ArgMax of a token's features: the first of the largest."""
    layout = context.layout(node.input[0], node)
    axis = attribute(node, "axis", 0) % layout.rank
    if not layout.width_is_last or axis != layout.rank - 1 or layout.groups != 1:
        refuse(node, f"it must choose from all features of one token, not along axis {axis}")
    if attribute(node, "select_last_index", 0):
        refuse(node, "of equals it must choose the first")
    x, emitter = context.tensor(node.input[0], node), Emitter(context, node)
    index = emitter.emit("top_index", x, groups=1, width=1)
    context.define(node.output[0], index, node)


def join_choices(context: Context, node: onnx.NodeProto) -> bool:
    """Concat of single indices, on the axis of features: they are one choice; False if it is
    something else."""
    found = [index_of(context, name) for name in node.input]
    layout = context.layout(node.output[0], node)
    axis = attribute(node, "axis") % layout.rank
    if axis != layout.rank - 1 or not layout.width_is_last or layout.width != len(found):
        return False
    inputs = list[Operand]()
    for index in found:
        if index is None or index.groups > 1:
            return False
        inputs += context.ops[index.name].inputs
    emitter, size = Emitter(context, node), (len(inputs), 1)
    joined = context.emit("top_index", inputs, size, node.output[0], emitter.sources)
    context.define(node.output[0], joined, node)
    return True


def _picked(context: Context, emitter: Emitter, x: Tensor, index: Tensor) -> Tensor:
    """x (1, E) at the indices, as (k, 1): the products with ones and zeros are added up."""
    finite = emitter.emit("max", x, Scalar(-LARGEST_FLOAT))  # nothing times 0 may be NaN
    chosen = emitter.emit("mul", one_hot(context, index, x.width, emitter.sources), finite)
    return emitter.emit("reduce_sum", chosen, width=1)


def one_hot(context: Context, index: Tensor, count: int, sources: Sequence[Source]) -> Tensor:
    """(k, count): 1 at each index, else 0."""
    size = index.groups, count
    return context.once("one_hot", (index,), size, f"{index.name}.one_hot", sources)


def index_of(context: Context, name: str) -> Tensor | None:
    """The indices (k, 1) that `name` holds in their order, in any shape; None if it does not."""
    value = context.values.get(name)
    if not isinstance(value, Moved) or not isinstance(value.root, Tensor):
        return None
    op = context.ops.get(value.root.name)
    if op is None or op.kind != "top_index":
        return None
    in_order = all(
        (np.ravel(i) == np.arange(1, 1 + i.size)).all() and i.size == s.new * value.root.size
        for i, s in zip(value.indices(), context.samples, strict=True)
    )
    return value.root if in_order else None


def _filled_with(context: Context, name: str) -> float | None:
    """The number that a known value is full of, in every sample."""
    found = context.known(name) if context.is_known(name) else [np.array([0, 1])]
    first = float(found[0].flat[0])
    return first if all((array == first).all() for array in found) else None


def scatter(context: Context, node: onnx.NodeProto) -> None:
    """ScatterElements at the chosen features: (1, E), of zeros but for numbers that are put there,
    or of features of which the chosen ones become one number."""
    index, data = index_of(context, node.input[1]), node.input[0]
    layout = context.layout(node.output[0], node)
    axis = attribute(node, "axis", 0) % layout.rank
    known = context.is_known(data)
    zeros = known and not any(array.any() for array in context.known(data))
    number = _filled_with(context, node.input[2])
    possible = number is not None if not known else zeros
    if known and context.is_known(node.input[2]) and number != 1:
        possible = False
    if index is None or not possible or axis != layout.rank - 1:
        refuse(
            node,
            "it must put numbers of a token's chosen features, or ones, into zeros, or one number "
            "in place of chosen features",
        )
    if attribute(node, "reduction", b"none") != b"none":
        refuse(node, "it must not add to what is there")
    emitter = Emitter(context, node)
    hot = one_hot(context, index, layout.width, emitter.sources)
    if number is not None:
        flags = emitter.emit("sum_groups", hot, groups=1)
        if known:
            context.flags.add(flags.name)
        else:
            flags = filled(emitter, flags, number, context.tensor(data, node))
        context.define(node.output[0], flags, node)
        return
    numbers = context.view(
        context.tensor(node.input[2], node), (index.groups, 1), node.input[2], emitter.sources
    )
    result = emitter.emit("sum_groups", emitter.emit("mul", hot, numbers), groups=1)
    context.define(node.output[0], result, node)


def gather_elements(context: Context, node: onnx.NodeProto) -> bool:
    """GatherElements of a token's features by chosen indices; False if it is something else."""
    index = index_of(context, node.input[1])
    if index is None or context.is_known(node.input[0]):
        return False
    layout = context.layout(node.input[0], node)
    if attribute(node, "axis", 0) % layout.rank != layout.rank - 1 or layout.groups != 1:
        refuse(node, "it must take features of one token")
    emitter, x = Emitter(context, node), context.tensor(node.input[0], node)
    context.define(node.output[0], _picked(context, emitter, x, index), node)
    return True
