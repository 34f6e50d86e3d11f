"""One ONNX node, its inputs being values."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper

from compiler.evaluate_node import Nodes
from compiler.static.state import State
from compiler.static.values import Data, Value, is_integer, origins, type_name


@dataclass(frozen=True)
class Node:
    """``version``: of the operator set that its model imports."""

    proto: onnx.NodeProto
    inputs: Sequence[Value | None]
    state: State
    version: int
    evaluator: Nodes

    @property
    def op_type(self) -> str:
        return str(self.proto.op_type)

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value; text as str."""
        for each in self.proto.attribute:
            if each.name == name:
                value = helper.get_attribute_value(each)
                return value.decode() if isinstance(value, bytes) else value
        return default

    def given(self, position: int) -> bool:
        """Whether the input is there."""
        return position < len(self.inputs) and self.inputs[position] is not None

    def value(self, position: int) -> Value:
        """An input that must be there."""
        value = self.inputs[position] if position < len(self.inputs) else None
        if value is None:
            raise self.state.refuse(f"its input {position} is missing")
        return value

    def values(self) -> list[Value]:
        """All inputs that are there."""
        return [value for value in self.inputs if value is not None]

    def known(self, position: int, what: str) -> np.ndarray | None:
        """An input that must be known at compile time; None if it is not there."""
        return self.state.known(self.value(position), what) if self.given(position) else None

    def origins(self) -> frozenset[str]:
        """The graph's inputs that the node depends on."""
        return origins(self.values())

    def refuse_double(self) -> None:
        """A jump is somewhere else where float64 was rounded to fp32."""
        for value in self.values():
            if value.elem_type == onnx.TensorProto.DOUBLE and isinstance(value, Data):
                raise self.state.refuse("comparing and rounding float64, which is kept as fp32")

    def refuse_unless_integer(self) -> None:
        for value in self.values():
            if not is_integer(value.elem_type):
                raise self.state.refuse(f"numbers of type {type_name(value.elem_type)}")

    def outputs(self) -> int:
        """How many are named."""
        return len(self.proto.output)
