"""Operators that ONNX itself defines by others are replaced by them."""

import math
from collections.abc import Sequence

import onnx
from onnx import helper, inliner, shape_inference

COMPOSITES = {"Attention"}
LARGEST_KEPT = 64  # elements of an initialiser whose values shape inference may need


def expand(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the nodes of COMPOSITES as their definitions in the standard, whose nodes have
    the name of the one that they replace.

    Raises RuntimeError where a node's types are unknown: its definition depends on them.
    """
    nodes = model.graph.node
    if not any(_is_composite(node) for node in nodes):
        return model
    skeleton, weights = _without_initialisers(model), list(model.graph.initializer)
    for tensor in weights:
        if math.prod(tensor.dims) <= LARGEST_KEPT:
            skeleton.graph.initializer.append(tensor)
        known = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        skeleton.graph.value_info.append(known)
    skeleton = shape_inference.infer_shapes(skeleton, data_prop=True)
    chosen = [("", name) for name in sorted(COMPOSITES)]
    result = inliner.inline_selected_functions(skeleton, chosen, inline_schema_functions=True)
    _name(nodes, result.graph.node)
    del result.graph.initializer[:]
    result.graph.initializer.extend(weights)
    return result


def _is_composite(node: onnx.NodeProto) -> bool:
    return node.domain in ("", "ai.onnx") and node.op_type in COMPOSITES


def _without_initialisers(model: onnx.ModelProto) -> onnx.ModelProto:
    """A model of the same nodes, inputs and outputs; the weights are not copied."""
    graph = helper.make_graph(
        list(model.graph.node),
        model.graph.name,
        list(model.graph.input),
        list(model.graph.output),
        value_info=list(model.graph.value_info),
    )
    copy = helper.make_model(graph, opset_imports=list(model.opset_import))
    copy.ir_version = model.ir_version
    return copy


def _name(before: Sequence[onnx.NodeProto], after: Sequence[onnx.NodeProto]) -> None:
    """Both are in one order: what stands instead of a composite gets its name."""
    left = list(before)
    for node in after:
        while len(left) > 1 and _is_composite(left[0]) and node.output == left[1].output:
            left.pop(0)
        if _is_composite(left[0]):
            node.name = left[0].name or left[0].output[0]
        else:
            left.pop(0)
