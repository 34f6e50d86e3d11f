"""Convolutions over tokens whose kernel is one token wide are products, one for each group."""

from collections.abc import Iterator

import onnx

from compiler.contrib import attributes_of
from compiler.template import fill


def expand_convolutions(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with such nodes, of [batch, features, tokens], as products; the model itself if it
    has none. The others stay, and are refused by name."""
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    if not any(_is_product(node, shapes) for node in model.graph.node):
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    for node in model.graph.node:
        if _is_product(node, shapes):
            text = "\n".join(_product(node, shapes[node.input[1]]))
            result.graph.node.extend(fill(node, text))
        else:
            result.graph.node.append(node)
    return result


def _is_product(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> bool:
    if node.op_type != "Conv" or node.domain or shapes.get(node.input[1], ())[2:] != (1,):
        return False
    given = attributes_of(node)
    return given.get("strides", [1]) == [1] and not any(given.get("pads", []))


def _product(node: onnx.NodeProto, shape: tuple[int, ...]) -> Iterator[str]:
    """``shape`` of the weights: (features out, features in of a group, 1)."""
    groups = attributes_of(node).get("group", 1)
    yield "x = Transpose<perm = [0, 2, 1]>(in0)"
    yield "last = Constant<value = int64[1] {2}>()  matrix = Squeeze(in1, last)"
    names = {"x": "x_0", "matrix": "matrix_0"}
    if groups > 1:
        for name, axis, size in (("x", 2, shape[1]), ("matrix", 0, shape[0] // groups)):
            sizes = ", ".join([str(size)] * groups)
            parts = ", ".join(f"{name}_{group}" for group in range(groups))
            yield f"{name}_sizes = Constant<value = int64[{groups}] {{{sizes}}}>()"
            yield f"{parts} = Split<axis = {axis}>({name}, {name}_sizes)"
    else:
        yield "  ".join(f"{part} = Identity({name})" for name, part in names.items())
    for group in range(groups):
        yield f"weights_{group} = Transpose<perm = [1, 0]>(matrix_{group})"
        yield f"y_{group} = MatMul(x_{group}, weights_{group})"
    yield f"y = Concat<axis = 2>({', '.join(f'y_{group}' for group in range(groups))})"
    has_bias = len(node.input) > 2 and node.input[2]
    yield "sum = Add(y, in2)" if has_bias else "sum = Identity(y)"
    yield "out0 = Transpose<perm = [0, 2, 1]>(sum)"
