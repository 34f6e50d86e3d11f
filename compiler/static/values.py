"""Values of a graph of fixed shapes, at compile time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto

from compiler.static.machine import Array

Shape = tuple[int, ...]
LARGEST_EXACT = (1 << 24) - 1  # what is at most this, after rounding to fp32, was not rounded
INTEGER_BITS: dict[int, tuple[int, bool]] = {  # bits, signed
    TensorProto.INT2: (2, True),
    TensorProto.UINT2: (2, False),
    TensorProto.INT4: (4, True),
    TensorProto.UINT4: (4, False),
    TensorProto.INT8: (8, True),
    TensorProto.UINT8: (8, False),
    TensorProto.INT16: (16, True),
    TensorProto.UINT16: (16, False),
    TensorProto.INT32: (32, True),
    TensorProto.UINT32: (32, False),
    TensorProto.INT64: (64, True),
    TensorProto.UINT64: (64, False),
}
FLOATS: set[int] = {
    TensorProto.FLOAT,
    TensorProto.FLOAT16,
    TensorProto.BFLOAT16,
    TensorProto.DOUBLE,
    TensorProto.FLOAT8E4M3FN,
    TensorProto.FLOAT8E4M3FNUZ,
    TensorProto.FLOAT8E5M2,
    TensorProto.FLOAT8E5M2FNUZ,
    TensorProto.FLOAT4E2M1,
}
# Types whose numbers bf16 holds: the array multiplies them in one part.
ONE_PART: set[int] = {
    TensorProto.BOOL,
    TensorProto.FLOAT4E2M1,
    *(t for t, (bits, _) in INTEGER_BITS.items() if bits <= 8),
}


class NeedsValues(Exception):
    """Something must be known at compile time that these inputs of the graph decide."""

    def __init__(self, names: frozenset[str], what: str) -> None:
        super().__init__(what)
        self.names = names


@dataclass(frozen=True, eq=False)
class Known:
    """Computed at compile time."""

    array: np.ndarray
    elem_type: int

    @property
    def shape(self) -> Shape:
        return self.array.shape


@dataclass(frozen=True, eq=False)
class Data:
    """Computed by the program: numbers of ``roots``, which count behind each other from 1 on, in
    the order of ``index`` (int64, the value's shape; 0 is the number 0). ``origins``: inputs of the
    graph that it depends on."""

    roots: tuple[Array, ...]
    index: np.ndarray
    elem_type: int
    origins: frozenset[str]

    @property
    def shape(self) -> Shape:
        return self.index.shape


Value = Known | Data


def whole(array: Array, shape: Shape, elem_type: int, origins: frozenset[str]) -> Data:
    """All numbers of an array, in their order."""
    index = np.arange(1, array.size + 1, dtype=np.int64).reshape(shape)
    return Data((array,), index, elem_type, origins)


def moved(value: Value, change: Callable[[np.ndarray], np.ndarray]) -> Value:
    """The value after a movement: ``change`` of its numbers, or of their places."""
    if isinstance(value, Known):
        return Known(change(value.array), value.elem_type)
    return Data(value.roots, change(value.index), value.elem_type, value.origins)


def origins(values: Sequence[Value]) -> frozenset[str]:
    """The graph's inputs that they depend on."""
    found = [value.origins for value in values if isinstance(value, Data)]
    return frozenset().union(*found)


def type_name(elem_type: int) -> str:
    """As ONNX writes it."""
    return onnx.TensorProto.DataType.Name(elem_type).lower()


def is_integer(elem_type: int) -> bool:
    return elem_type in INTEGER_BITS


def is_wide(elem_type: int) -> bool:
    """An integer type whose numbers need not be exact in fp32."""
    return elem_type in INTEGER_BITS and INTEGER_BITS[elem_type][0] > 16


def supported(elem_type: int) -> bool:
    return elem_type in FLOATS or elem_type in INTEGER_BITS or elem_type == TensorProto.BOOL


def to_fp32(array: np.ndarray, elem_type: int) -> np.ndarray:
    """The numbers as the chip keeps them; ValueError for integers that fp32 does not hold, floats
    are rounded."""
    with np.errstate(over="ignore"):
        result = array.astype(np.float32)
    if is_integer(elem_type):
        exact = np.abs(array.astype(np.float64)) <= LARGEST_EXACT
        if not exact.all():
            raise ValueError(f"the integer {array[~exact].flat[0]} is not below 2^24")
    return result
