"""Walks through a graph, node after node: what can be known is evaluated, the rest is emitted."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper

from compiler.evaluate_node import Nodes, source_of
from compiler.static.node import Node
from compiler.static.operators import BY_INDICES, BY_SHAPE, HANDLERS, OLDEST, RANDOM, SHAPING
from compiler.static.shuffle import MOVED, shuffle
from compiler.static.state import State
from compiler.static.values import Data, Known, Value

Scope = dict[str, Value | None]
Attributes = Mapping[str, onnx.AttributeProto]
DEEPEST = 8  # definitions inside of definitions


class Walk:
    """Nodes of one operator set, in the model itself or in an operator's definition."""

    def __init__(
        self, state: State, opsets: Sequence[onnx.OperatorSetIdProto], ir: int, depth: int = 0
    ) -> None:
        self.state, self.depth, self.ir = state, depth, ir
        self.opsets = list(opsets)
        self.evaluator = Nodes(self.opsets, ir)
        self._kept: list[onnx.NodeProto] = []  # the evaluator knows nodes by their identity

    def nodes(self, nodes: Sequence[onnx.NodeProto], scope: Scope, given: Attributes) -> None:
        """Define the outputs of all nodes in ``scope``; ``given``: attributes they refer to."""
        for proto in nodes:
            node = _filled(proto, given)
            self._kept.append(node)
            if not self.depth:
                self.state.where = str(source_of(node))
            for name, value in zip(node.output, self._outputs(node, scope), strict=False):
                if name:
                    scope[name] = value

    def _outputs(self, proto: onnx.NodeProto, scope: Scope) -> Sequence[Value | None]:
        state = self.state
        if missing := [name for name in proto.input if name and name not in scope]:
            raise state.refuse(f'its input "{missing[0]}" is not defined before it')
        inputs = [scope[name] if name else None for name in proto.input]
        with state.machine.builder.working_for(state.where):
            if self.depth:
                return self._done(proto, inputs, scope)
            types = self._types(proto, inputs)
            outputs = self._done(proto, inputs, scope)
        _check(state, proto, outputs, types)
        return outputs

    def _types(
        self, proto: onnx.NodeProto, inputs: Sequence[Value | None]
    ) -> Mapping[str, onnx.TypeProto]:
        """What onnx infers of the outputs, if it can; CompileError for what fits no definition."""
        domains = {o.domain for o in self.opsets}
        if proto.domain not in domains or any(each.type in _GRAPHS for each in proto.attribute):
            return {}
        pairs = [(n, x) for n, x in zip(proto.input, inputs, strict=True) if x is not None]
        types = {n: helper.make_tensor_type_proto(x.elem_type, x.shape) for n, x in pairs}
        small = [(n, x.array) for n, x in pairs if isinstance(x, Known) and x.array.size <= 64]
        data = {n: numpy_helper.from_array(x, n) for n, x in small if x.dtype != object}
        return self.evaluator.infer(proto, types, data)

    def _done(
        self, proto: onnx.NodeProto, inputs: list[Value | None], scope: Scope
    ) -> Sequence[Value | None]:
        state, name = self.state, proto.op_type
        if proto.domain not in ("", "ai.onnx"):
            raise state.refuse(f"an operator of {proto.domain}")
        if name in RANDOM:
            raise state.refuse("random numbers")
        node = Node(proto, inputs, state, self._version(), self.evaluator)
        if node.version < OLDEST.get(name, 1):
            raise state.refuse(f"{name} before operator set {OLDEST[name]}")
        if name == "If":
            return self._branch(node, scope)
        if any(each.type in _GRAPHS for each in proto.attribute):
            raise state.refuse("control flow")
        if name in BY_SHAPE or all(isinstance(x, Known) for x in node.values()):
            return self._evaluated(node)
        for position, value in enumerate(node.values()):
            state.check_type(value.elem_type)
            if name in SHAPING:
                state.known(value, f"its input {position}")
        if name in MOVED and not (name in BY_INDICES and isinstance(inputs[1], Data)):
            return shuffle(node)
        if name in HANDLERS:
            return HANDLERS[name](node)
        return self._defined(node)

    def _version(self) -> int:
        return next((int(o.version) for o in self.opsets if o.domain in ("", "ai.onnx")), 1)

    def _evaluated(self, node: Node) -> list[Value | None]:
        """By onnx's reference; what depends on shapes alone gets zeros of that shape."""
        arrays = []
        for value in node.values():
            dtype = helper.tensor_dtype_to_np_dtype(value.elem_type)
            zeros = np.zeros(value.shape, dtype)
            arrays.append(value.array if isinstance(value, Known) else zeros)
        found = self.evaluator.run(node.proto, arrays)
        return [_known(array) for array in found]

    def _branch(self, node: Node, scope: Scope) -> list[Value | None]:
        """If, whose condition is known: one of its graphs, which sees all that is around it."""
        condition = node.known(0, "the condition")
        assert condition is not None
        chosen = "then_branch" if condition.reshape(()) else "else_branch"
        graph = node.attribute(chosen)
        inner = dict(scope)
        for tensor in graph.initializer:
            inner[tensor.name] = _known(onnx.numpy_helper.to_array(tensor))
        self.nodes(graph.node, inner, {})
        return [inner[output.name] for output in graph.output]

    def _defined(self, node: Node) -> list[Value | None]:
        """By its definition in the standard."""
        state = self.state
        if self.depth >= DEEPEST or not defs.has(node.op_type, node.version):
            raise state.refuse(f"{node.op_type} is not supported")
        schema = defs.get_schema(node.op_type, node.version)
        function = _definition(schema, node)
        if function is None:
            raise state.refuse(f"{node.op_type} is not supported")
        given = {name: each.default_value for name, each in schema.attributes.items()}
        given = {name: each for name, each in given.items() if each.name}
        given |= {each.name: each for each in node.proto.attribute}
        names = list(function.input)
        scope: Scope = dict.fromkeys(names)
        scope |= dict(zip(names, node.inputs, strict=False))
        walk = Walk(state, function.opset_import, self.ir, self.depth + 1)
        walk.nodes(function.node, scope, given)
        self._kept += walk._kept
        return [scope.get(name) for name in function.output]


def _check(
    state: State,
    proto: onnx.NodeProto,
    outputs: Sequence[Value | None],
    types: Mapping[str, onnx.TypeProto],
) -> None:
    """What was made is what onnx says: else the fault is ours."""
    for name, value in zip(proto.output, outputs, strict=False):
        wanted = types.get(name)
        if not name or value is None or wanted is None or not wanted.HasField("tensor_type"):
            continue
        kind, dims = wanted.tensor_type.elem_type, wanted.tensor_type.shape.dim
        assert kind in (0, value.elem_type), f"{state.where}: {value.elem_type}, not {kind}"
        if wanted.tensor_type.HasField("shape"):
            said = [d.dim_value if d.HasField("dim_value") else None for d in dims]
            fits = len(said) == len(value.shape)
            fits &= all(s in (None, n) for s, n in zip(said, value.shape, strict=False))
            assert fits, f"{state.where}: {value.shape}, not {said}"


_GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


def _known(array: np.ndarray) -> Known:
    return Known(array, helper.np_dtype_to_tensor_dtype(array.dtype))


def _filled(proto: onnx.NodeProto, given: Attributes) -> onnx.NodeProto:
    """The node, with attributes that refer to those of the operator that it helps to define."""
    if not any(each.ref_attr_name for each in proto.attribute):
        return proto
    node = onnx.NodeProto()
    node.CopyFrom(proto)
    del node.attribute[:]
    for each in proto.attribute:
        if not each.ref_attr_name:
            node.attribute.append(each)
        elif each.ref_attr_name in given:
            copy = node.attribute.add()
            copy.CopyFrom(given[each.ref_attr_name])
            copy.name = each.name
    return node


def _definition(schema: Any, node: Node) -> onnx.FunctionProto | None:
    """The operator's function for these types of inputs, in the newest form that its operator set
    has."""
    fixed = [v for v in schema.function_opset_versions if v <= node.version]
    by_type = [v for v in schema.context_dependent_function_opset_versions if v <= node.version]
    function = onnx.FunctionProto()
    if by_type:
        types = [_type_of(value) for value in node.inputs]
        text = schema.get_context_dependent_function_with_opset_version(
            max(by_type), node.proto.SerializeToString(), types
        )
    elif fixed:
        text = schema.get_function_with_opset_version(max(fixed))
    else:
        return None
    function.ParseFromString(text)
    return function


def _type_of(value: Value | None) -> bytes:
    if value is None:
        return onnx.TypeProto().SerializeToString()
    made = helper.make_tensor_type_proto(value.elem_type, value.shape)
    return bytes(made.SerializeToString())
