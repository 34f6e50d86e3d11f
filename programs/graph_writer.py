"""Writes an ONNX graph node by node."""

import numpy as np
import onnx
from onnx import helper, numpy_helper


class GraphWriter:
    """Collects nodes and constants; every method returns the name of a tensor."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, value: np.ndarray) -> str:
        """Initialiser `name`, written once."""
        if name not in self.constants:
            self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def ints(self, *values: int) -> str:
        """An int64 vector, shared between its users."""
        name = "ints_" + "_".join(str(v).replace("-", "m") for v in values)
        return self.constant(name, np.array(values, np.int64))

    def op(self, op_type: str, *inputs: str, name: str, **attributes: object) -> str:
        """A node with one output, called `name` as the node is."""
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name
