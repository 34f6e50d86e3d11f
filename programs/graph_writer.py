"""Writes an ONNX graph node by node."""

import math
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


@dataclass(frozen=True)
class Absent:
    """An fp32 tensor of this shape, whose elements another file would hold."""

    shape: tuple[int, ...]
    location: str


class GraphWriter:
    """Collects nodes and constants; every method returns the name of a tensor."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._absent_bytes = 0

    def constant(self, name: str, value: np.ndarray | Absent) -> str:
        """Initialiser `name`, written once."""
        if name not in self.constants:
            if isinstance(value, Absent):
                self.constants[name] = self._absent(name, value)
            else:
                self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def _absent(self, name: str, value: Absent) -> onnx.TensorProto:
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=value.shape)
        tensor.data_location = TensorProto.EXTERNAL
        length = 4 * math.prod(value.shape)
        place = {"location": value.location, "offset": self._absent_bytes, "length": length}
        for key, entry in place.items():
            tensor.external_data.add(key=key, value=str(entry))
        self._absent_bytes += length
        return tensor

    def ints(self, *values: int) -> str:
        """An int64 vector, shared between its users."""
        name = "ints_" + "_".join(str(v).replace("-", "m") for v in values)
        return self.constant(name, np.array(values, np.int64))

    def op(self, op_type: str, *inputs: str, name: str, **attributes: object) -> str:
        """A node with one output, called `name` as the node is."""
        self.nodes.append(helper.make_node(op_type, inputs, [name], name=name, **attributes))
        return name
