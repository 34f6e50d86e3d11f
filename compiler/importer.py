"""Read an ONNX file: parse, find its external data, check it, inline its functions."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import checker, defs, helper, inliner

from compiler.errors import CompileError
from compiler.importer_data import find_external_data, is_mapped, stand_in_for_data

OLDEST_OPSET = 13  # Softmax, Squeeze and ReduceSum mean something else before


def load_model(path: str | Path, weights: bool = True) -> onnx.ModelProto:
    """The model in `path`, checked, without local functions; large external tensors are references
    to absolute file names (`compiler.importer_data.array_of` reads them), or without ``weights``
    absent.

    Raises CompileError if the file or its external data is missing, damaged or no valid ONNX.
    """
    path = Path(path)
    model = _parse(path)
    for tensor in model.graph.initializer:
        if tensor.data_type not in helper.get_all_tensor_dtypes():
            problem = f'tensor "{tensor.name}" has no element type of ONNX, but {tensor.data_type}'
            raise CompileError(str(path), problem)
    (find_external_data if weights else stand_in_for_data)(model, path)
    try:
        # The checker stops at the first foreign operator; canonicalise names them all.
        if all(is_registered(node) for node in model.graph.node):
            checker.check_model(path if weights and is_mapped(model) else _without_absent(model))
        else:
            _check_nodes(model)
        if model.functions:
            model = inliner.inline_local_functions(model)
    except (checker.ValidationError, RuntimeError, ValueError) as error:
        raise CompileError(str(path), f"not a valid ONNX model: {_first_line(error)}") from error
    _check_opset(model, path)
    return model


def _check_nodes(model: onnx.ModelProto) -> None:
    """Those of the ONNX standard, beside others: their inputs' and outputs' numbers, attributes."""
    context = checker.C.CheckerContext()
    context.ir_version = model.ir_version
    context.opset_imports = {entry.domain: entry.version for entry in model.opset_import}
    for node in model.graph.node:
        if is_registered(node):
            checker.check_node(node, context)


def check_names(model: onnx.ModelProto, source: str) -> None:
    """Every value must have one definition, before its first use: onnx's checker sees to it only in
    models whose operators it knows all."""
    graph = model.graph
    known = {"", *(v.name for v in graph.input), *(t.name for t in graph.initializer)}
    for node in graph.node:
        where = f'{source}: node "{node.name or ", ".join(node.output)}" ({node.op_type})'
        if missing := [name for name in node.input if name not in known]:
            raise CompileError(where, f'its input "{missing[0]}" is not defined before it')
        if twice := [name for name in node.output if name and name in known]:
            raise CompileError(where, f'its output "{twice[0]}" is defined twice')
        if not any(node.output):
            raise CompileError(where, "it has no output")
        known.update(node.output)
    if missing := [value.name for value in graph.output if value.name not in known]:
        raise CompileError(source, f'output "{missing[0]}" is not defined')


def is_registered(node: onnx.NodeProto) -> bool:
    """Whether it is an operator of the ONNX standard."""
    return node.domain in ("", "ai.onnx") and defs.has(node.op_type)


def _parse(path: Path) -> onnx.ModelProto:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CompileError(str(path), f"cannot be read: {error.strerror}") from error
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise CompileError(
            str(path), "not an ONNX file, or a truncated one", "export or copy it again"
        ) from error
    if not model.ir_version or not model.graph.node or not model.opset_import:
        raise CompileError(
            str(path),
            "not an ONNX file, or a truncated one: it holds no graph with an operator set",
            "export or copy it again",
        )
    for what, words in _texts(model.graph):  # protobuf gives what is no UTF-8 as bytes
        if strange := [word for word in words if not isinstance(word, str)]:
            raise CompileError(str(path), f"a {what}'s text {strange[0]!r} is no UTF-8")
    return model


def _texts(graph: onnx.GraphProto) -> Iterator[tuple[str, Sequence[str]]]:
    for node in graph.node:
        names = (attribute.name for attribute in node.attribute)
        yield "node", (node.name, node.op_type, node.domain, *node.input, *node.output, *names)
    for tensor in graph.initializer:
        yield "tensor", (tensor.name,)
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield "value", (value.name, *(d.dim_param for d in value.type.tensor_type.shape.dim))


def _without_absent(model: onnx.ModelProto) -> onnx.ModelProto:
    """What the checker can check: absent tensors as inputs."""
    if not is_mapped(model):
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.initializer[:]
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            kind = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            copy.graph.input.append(kind)
        else:
            copy.graph.initializer.append(tensor)
    return copy


def _check_opset(model: onnx.ModelProto, path: Path) -> None:
    versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if not versions or versions[0] < OLDEST_OPSET:
        raise CompileError(
            str(path),
            f"operator set must be {OLDEST_OPSET} or newer, not {versions[0] if versions else 0}",
            "export the model again with a newer opset",
        )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
