"""ONNX's backend interface: jcc and the functional simulator, for others' test suites.

    onnx.backend.test.BackendTest(compiler.onnx_backend, __name__)

Graphs of tensors of any shapes are compiled by `compiler.static`. Inputs that decide about shapes
or movements (Reshape's shape, Slice's starts) are values of the program: one is made for each.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import checker
from onnx.backend.base import Backend, BackendRep, namedtupledict
from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt

from compiler.errors import CompileError
from compiler.static.compile import compile_static
from compiler.static.values import NeedsValues
from isa.config import ChipConfig, load_config
from isa.image import ProgramImage
from sim import arrays
from sim.check import check_image
from sim.functional import FunctionalCore
from sim.host import InputError


class Refused(BackendIsNotSupposedToImplementIt):
    """jcc does not compile this graph, or the program does not take these inputs; says why."""


class Program(BackendRep):
    """A model; compiled for the shapes, and the values that must be known, of each run."""

    def __init__(self, model: onnx.ModelProto, config: ChipConfig) -> None:
        self.model, self.config = model, config
        given = {tensor.name for tensor in model.graph.initializer}
        self.names = [value.name for value in model.graph.input if value.name not in given]
        self.fixed: set[str] = set()  # inputs whose values the programs are made for
        self._core = FunctionalCore(config)
        self._images: dict[tuple, ProgramImage] = {}

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Arrays in the order of the graph's inputs, or by name → all outputs. Raises Refused."""
        if not isinstance(inputs, Mapping):
            inputs = dict(zip(self.names, inputs, strict=True))
        try:
            self._check_inputs()
            return self._run({name: np.asarray(value) for name, value in inputs.items()})
        except (CompileError, InputError) as error:
            raise Refused(str(error)) from error

    def _check_inputs(self) -> None:
        for value in self.model.graph.input:
            kind = value.type.WhichOneof("value")
            if kind != "tensor_type":
                raise CompileError(f'input "{value.name}"', f"{kind}, which is not a tensor")

    def image(self, inputs: Mapping[str, Any]) -> ProgramImage:
        """The program for inputs of these shapes, and of these values where they must be known."""
        for _ in range(len(self.names) + 1):
            key = tuple(
                (name, inputs[name].tobytes() if name in self.fixed else b"", _shape(inputs[name]))
                for name in self.names
            )
            if key in self._images:
                return self._images[key]
            shapes = {name: _shape(value) for name, value in inputs.items()}
            fixed = {name: inputs[name] for name in self.fixed}
            try:
                image = compile_static(self.model, self.config, shapes, fixed)
            except NeedsValues as need:
                self.fixed |= need.names
                continue
            check_image(image)
            self._images[key] = image
            return image
        raise AssertionError("all inputs are known")

    def _run(self, inputs: dict[str, np.ndarray]) -> tuple[Any, ...]:
        image = self.image(inputs)
        memory = image.memory()
        arrays.write(image.io, memory, inputs)
        self._core.load(image, memory)
        self._core.run()
        found = arrays.read(image.io, memory)
        names = [value.name for value in self.model.graph.output]
        return namedtupledict("Outputs", names)(*(found[name] for name in names))


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(getattr(value, "shape", ()))


class JalapenoBackend(Backend):
    """``config`` in the keyword arguments names a chip; `tiny` without."""

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether nothing shows before the inputs are known that it is not."""
        return cls.supports_device(device)

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> Program:
        """A program to run; it is compiled when its inputs' shapes are known."""
        checker.check_model(model)
        return Program(model, load_config(kwargs.get("config", "tiny")))

    @classmethod
    def run_model(
        cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any
    ) -> tuple[Any, ...]:
        """`prepare`, then run."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[np.dtype, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """One node of the newest operator set (``opset_version`` names another)."""
        names = [name for name in node.input if name]
        arrays_of = dict(zip(names, (np.asarray(x) for x in inputs), strict=True))
        version = kwargs.get("opset_version", onnx.defs.onnx_opset_version())
        make = onnx.helper.make_tensor_value_info
        kind = onnx.helper.np_dtype_to_tensor_dtype
        entries = [make(n, kind(x.dtype), x.shape) for n, x in arrays_of.items()]
        results = [make(name, 0, None) for name in node.output if name]
        graph = onnx.helper.make_graph([node], "node", entries, results)
        opsets = [onnx.helper.make_opsetid(node.domain, version)]
        inferred = onnx.shape_inference.infer_shapes(
            onnx.helper.make_model(graph, opset_imports=opsets)
        )
        return cls.run_model(inferred, arrays_of, device, **kwargs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """The functional simulator runs on the host's processor."""
        return device.split(":")[0] == "CPU"


is_compatible = JalapenoBackend.is_compatible
prepare = JalapenoBackend.prepare
run_model = JalapenoBackend.run_model
run_node = JalapenoBackend.run_node
supports_device = JalapenoBackend.supports_device
