"""Nodes that only move or rename values: they leave no operator until their result is used."""

from dataclasses import replace

import onnx

from compiler import picked_token
from compiler.canonical_arrange import joined
from compiler.canonical_choice import index_of, join_choices
from compiler.canonical_context import Context, is_ids, refuse
from compiler.canonical_flags import is_flag
from compiler.evaluate import FLOATS
from compiler.evaluate_node import results, source_of
from compiler.movement import Moved

MOVES = {
    "Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Neg", "Reshape",
    "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
}  # fmt: skip
ALIASES = {"Cast", "Dropout", "Identity"}


def move(context: Context, node: onnx.NodeProto) -> None:
    """Run a movement node on the indices of its inputs, which must share one root."""
    names = [name for name in node.input if name]
    inputs = [context.values.get(name) for name in names]
    moved = [value for value in inputs if isinstance(value, Moved)]
    known = [name for name, value in zip(names, inputs, strict=True) if value is None]
    if len(moved) + len(known) != len(names):
        refuse(node, "the past of a cache can only be joined with new tokens, on its token axis")
    if len({(value.root, value.scale) for value in moved}) != 1:
        if node.op_type == "Concat" and not known:
            if all(name in context.picked for name in names):
                picked_token.follow(context, node)
            if join_choices(context, node) or joined(context, node):
                return
        refuse(node, "it joins different values; only features of the same tokens can be joined")
    if node.op_type != "Concat" and names[0] in known:
        refuse(node, "its sizes or indices depend on the tokens")
    if node.op_type == "Concat" and known:
        refuse(node, "it joins a value with constants; only pieces of one value can be joined")
    columns = [
        v.indices() if isinstance(v, Moved) else context.known(n)
        for n, v in zip(names, inputs, strict=True)
    ]
    rows = [context.evaluator.run_node(node, arrays) for arrays in zip(*columns, strict=True)]
    sources = [source for value in moved for source in value.sources]
    base = replace(moved[0], sources=tuple(dict.fromkeys(sources)))
    for output, index in zip(results(node), zip(*rows, strict=True), strict=True):
        context.values[output] = base.via(index, source_of(node))


def alias(context: Context, node: onnx.NodeProto) -> None:
    """The output is the input: Identity, Dropout at inference, Cast between float formats."""
    value = context.values[node.input[0]]
    if node.op_type == "Cast":
        kinds = {run.elem_types[node.output[0]] for run in context.runs}
        name = node.input[0]
        integers = is_ids(value) or index_of(context, name) is not None
        if not integers and not is_flag(context, name) and not kinds <= FLOATS:
            refuse(node, "a cast of token values must be to a floating-point type")
    context.values[node.output[0]] = value
