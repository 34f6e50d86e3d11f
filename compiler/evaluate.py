"""Evaluate what a graph computes from shapes, masks and positions alone.

Exporters write masks, position tables and shapes in dozens of ways. Bound to a sample size, all of
that is *known*: it depends on no token and no cache, and `onnx.reference` computes it. Everything
else is an *activation*: only its concrete shape is inferred. Comparing samples of different sizes
then tells which dimension of an activation is the number of tokens.
"""

import math
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import onnx
from onnx import helper, numpy_helper

from compiler.contrib import infer, is_contrib
from compiler.deferred import LARGE_BYTES
from compiler.errors import CompileError
from compiler.evaluate_node import Nodes, results, source_of
from compiler.evaluate_rows import run_rows
from compiler.evaluate_sample import Sample, Shape, Values
from compiler.evaluate_shapes import Dim, concrete_shape, symbolic_shapes
from compiler.importer_data import array_of
from compiler.importer_interface import Interface

SHAPE_ONLY = {"Shape", "Size"}  # known whatever their input holds
TYPE_ONLY = {"CastLike": 1}  # of the inputs from this one on only the type counts
LARGEST_SHAPE_INPUT = 64  # elements: what shape inference may need the value of

FLOATS = {
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.FLOAT16,
    onnx.TensorProto.BFLOAT16,
    onnx.TensorProto.DOUBLE,
}


class Evaluator:
    """A model split into known and activation nodes, evaluated at any sample size.

    `activations` are the names of values that depend on tokens or caches; `live` are the nodes that
    an output needs, in topological order.
    """

    def __init__(self, model: onnx.ModelProto, interface: Interface) -> None:
        self.interface = interface
        self._node = Nodes(model.opset_import, model.ir_version)
        self.producer = {name: node for node in model.graph.node for name in node.output if name}
        self._initialisers = {t.name: t for t in model.graph.initializer}
        self._static: dict[str, np.ndarray] = {}
        self._types: dict[str, tuple[int, Shape]] = {}
        self.nodes = list(model.graph.node)
        self._elem_types: dict[str, int] = {}
        self.excluded: dict[str, set[int]] = {}  # numbers that ids of an input must not be
        self.symbols: dict[str, tuple[Dim, ...]] = {}
        wanted = [v.name for v in model.graph.output]
        self.consumed = {name for node in model.graph.node for name in node.input}.union(wanted)
        self.live = self._needed(wanted)

    @cached_property
    def activations(self) -> set[str]:
        caches = self.interface.caches
        pasts = (name for c in caches for name in (c.past_key, c.past_value))
        found = {*self.interface.ids, *self.interface.features, *pasts}
        for node in self.nodes:
            inputs = node.input[: TYPE_ONLY.get(node.op_type, len(node.input))]
            if self._looks_for_padding(node):
                continue
            if node.op_type not in SHAPE_ONLY and found.intersection(inputs):
                found.update(node.output)
        return found

    def _looks_for_padding(self, node: onnx.NodeProto) -> bool:
        """Whether it compares ids with a number: padding, which the host excludes; so it is known
        that they differ."""
        if node.op_type != "Equal" or len(node.input) != 2:
            return False
        for name, other in (node.input, node.input[::-1]):
            ids = self._ids_of(name)
            if ids and other not in self.varying and self.constant(other).size == 1:
                self.excluded.setdefault(ids, set()).add(int(self.constant(other).reshape(())))
                return True
        return False

    def _ids_of(self, name: str) -> str:
        """The input of ids that `name` is, in another type perhaps."""
        while (node := self.producer.get(name)) and node.op_type in ("Cast", "Identity"):
            name = node.input[0]
        return name if name in self.interface.ids else ""

    @cached_property
    def varying(self) -> set[str]:
        """Names that depend on any input, be it on its shape only."""
        found = set(self.interface.elem_types)
        for node in self.nodes:
            if found.intersection(node.input):
                found.update(node.output)
        return found

    def constant(self, name: str) -> np.ndarray:
        """The value of a name outside `varying`; computed once, if it is not large."""
        if name in self._static:
            return self._static[name]
        if name in self._initialisers:
            found = {name: array_of(self._initialisers[name])}
        else:
            node = self.producer[name]
            outputs = self._node.run(node, [self.constant(n) for n in node.input if n])
            found = dict(zip(results(node), outputs, strict=True))
        for key, array in found.items():
            self._types[key] = helper.np_dtype_to_tensor_dtype(array.dtype), array.shape
            if array.nbytes < LARGE_BYTES:
                self._static[key] = array
        return found[name]

    def type_of(self, name: str) -> tuple[int, Shape]:
        """Element type and shape of a name outside `varying`; its value is computed only where they
        cannot be inferred."""
        if name not in self._types:
            if name in self._initialisers:
                tensor = self._initialisers[name]
                self._types[name] = tensor.data_type, tuple(tensor.dims)
            elif not self._infer_constant(self.producer[name]):
                self.constant(name)
        return self._types[name]

    def _infer_constant(self, node: onnx.NodeProto) -> bool:
        """Whether the types of the outputs are known without their values."""
        if is_contrib(node) or not node.input:
            return False
        types, data = self._described(node.input, Values())
        try:
            found = self._node.infer(node, types, data)
        except CompileError:  # the evaluation says more
            return False
        dims = {n: t.tensor_type.shape.dim for n, t in found.items()}
        if not all(t.tensor_type.HasField("shape") for t in found.values()):
            return False
        if not all(d.HasField("dim_value") for of_one in dims.values() for d in of_one):
            return False
        for name, inferred in found.items():
            shape = tuple(d.dim_value for d in dims[name])
            self._types[name] = inferred.tensor_type.elem_type, shape
        return set(results(node)) <= found.keys()

    def run_node(self, node: onnx.NodeProto, inputs: Iterable[np.ndarray]) -> list[np.ndarray]:
        """The node's outputs for the arrays of its non-empty inputs."""
        return self._node.run(node, inputs)

    def _needed(self, names: Iterable[str]) -> list[onnx.NodeProto]:
        """The nodes that `names` depend on, in the graph's order, cut where `symbols` knows all."""
        stack, seen = list(names), set[int]()
        while stack:
            node = self.producer.get(stack.pop())
            if node is not None and id(node) not in seen:
                seen.add(id(node))
                stack.extend(name for name in node.input if name not in self.symbols)
        return [node for node in self.nodes if id(node) in seen]

    def learn_shapes(self, samples: Sequence[Sample]) -> list[Values]:
        """Run the samples and keep the symbolic shapes: later runs need not infer them again."""
        runs = [self.run(sample) for sample in samples]
        self.symbols = symbolic_shapes(samples, [run.shapes for run in runs])
        self._elem_types = runs[0].elem_types
        return runs

    def run(
        self,
        sample: Sample,
        names: Iterable[str] | None = None,
        queries: np.ndarray | None = None,
    ) -> Values:
        """Evaluate the live graph (or what known `names` depend on) at one sample size; of what is
        too large only the rows of these ``queries``."""
        values = Values()
        self._bind(sample, values)
        nodes = self.live if names is None else self._needed(names)
        for name in {name for node in nodes for name in node.input} & self.symbols.keys():
            values.shapes[name] = concrete_shape(self.symbols[name], sample)
            values.elem_types[name] = self._elem_types[name]
        for node in nodes:
            if not self.varying.intersection(node.input):
                continue
            if node.output[0] in self.activations:
                self._infer(node, values)
            elif self._looks_for_padding(node):
                values.known[node.output[0]] = np.zeros((1, sample.new), bool)
            else:
                inputs = [name for name in node.input if name]
                arrays, outputs = [self._array(name, values) for name in inputs], None
                if queries is not None:
                    are_rows = [name in values.rows for name in inputs]
                    outputs = run_rows(self._node, node, arrays, are_rows, queries, sample.new)
                    values.rows.update(results(node) if outputs else ())
                outputs = outputs or self._node.run(node, arrays)
                values.known.update(zip(results(node), outputs, strict=True))
        return values

    def _shape(self, name: str, values: Values) -> Shape:
        """Of a known value."""
        if name in values.known or name in self.varying:
            return self.known(name, values).shape
        return self.type_of(name)[1]

    def known(self, name: str, values: Values) -> np.ndarray:
        """A known value, constant or of this sample."""
        if name in values.known:
            return values.known[name]
        if name in self.varying:
            raise CompileError(f'value "{name}"', "it cannot be evaluated for any number of tokens")
        return self.constant(name)

    def _bind(self, sample: Sample, values: Values) -> None:
        interface = self.interface
        shapes = interface.shapes(sample.new, sample.past)
        for name, shape in shapes.items():
            values.elem_types[name] = interface.elem_types[name]
            if name not in (interface.mask, interface.positions):
                values.shapes[name] = shape
        for name, array in (
            (interface.mask, np.ones((1, sample.total))),
            (interface.positions, sample.position_array()),
        ):
            if name:
                dtype = helper.tensor_dtype_to_np_dtype(interface.elem_types[name])
                values.known[name] = array.astype(dtype)

    def _array(self, name: str, values: Values) -> np.ndarray:
        """A known array, or zeros that take no memory where only the shape counts."""
        if name in values.shapes:
            return np.broadcast_to(np.float32(0), values.shapes[name])
        return self.known(name, values)

    def _infer(self, node: onnx.NodeProto, values: Values) -> None:
        """Infer the shapes of an activation node's outputs."""
        if is_contrib(node):
            self._infer_contrib(node, values)
            return
        types, data = self._described(node.input, values)
        for name, inferred in self._node.infer(node, types, data).items():
            tensor = inferred.tensor_type
            dims = tensor.shape.dim
            if not tensor.HasField("shape") or not all(d.HasField("dim_value") for d in dims):
                raise CompileError(str(source_of(node)), "its output shape cannot be inferred")
            shape = tuple(d.dim_value for d in dims)
            if min(shape, default=0) < 0:
                raise CompileError(str(source_of(node)), f"its output would be of shape {shape}")
            values.shapes[name] = shape
            values.elem_types[name] = tensor.elem_type

    def _described(
        self, names: Iterable[str], values: Values
    ) -> tuple[dict[str, onnx.TypeProto], dict[str, onnx.TensorProto]]:
        """Types of a node's inputs, and those values that may decide its outputs' shapes."""
        types, data = dict[str, onnx.TypeProto](), dict[str, onnx.TensorProto]()
        for name in names:
            if name in values.shapes:
                types[name] = _tensor_type(values.elem_types[name], values.shapes[name])
                continue
            if not name:
                continue
            if name in values.known or name in self.varying:
                array = self.known(name, values)
                kind = int(helper.np_dtype_to_tensor_dtype(array.dtype)), array.shape
            else:
                kind = self.type_of(name)
            types[name] = _tensor_type(*kind)
            if math.prod(kind[1]) <= LARGEST_SHAPE_INPUT:
                array = np.ascontiguousarray(self.known(name, values))
                data[name] = numpy_helper.from_array(array, name)
        return types, data

    def _infer_contrib(self, node: onnx.NodeProto, values: Values) -> None:
        first = next((name for name in node.input if name in values.shapes), "")
        if not first or (node.input[0] != first and node.op_type != "GatherBlockQuantized"):
            raise CompileError(str(source_of(node)), "its first input must depend on the tokens")
        names = [name for name in node.input if name and name not in values.shapes]
        known = {name: self._shape(name, values) for name in names}
        try:
            found = infer(node, {**values.shapes, **known})
        except ValueError as error:
            raise CompileError(str(source_of(node)), f"its shapes do not fit: {error}") from error
        for name, shape in found.items():
            values.shapes[name] = shape
            ids = values.elem_types[first] not in FLOATS
            values.elem_types[name] = onnx.TensorProto.FLOAT if ids else values.elem_types[first]


def _tensor_type(elem_type: int, shape: Shape) -> onnx.TypeProto:
    return helper.make_tensor_type_proto(elem_type, shape)
