"""Inputs and outputs of programs of graphs of fixed shapes: ONNX arrays to fp32 in HBM, and back.

Integers must be exact in fp32, floats are rounded to it; outputs are rounded to their type, to
nearest even.
"""

import math

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from isa.iomap import Array, IoMap
from sim.host import Arrays, InputError

LARGEST_EXACT = (1 << 24) - 1  # integers up to it, and no more, are surely exact in fp32


def dtype_of(array: Array) -> np.dtype:
    """The type that the ONNX file gives it."""
    return np.dtype(getattr(ml_dtypes, array.onnx_dtype, array.onnx_dtype))


def write(io: IoMap, hbm: NDArray[np.uint8], inputs: Arrays) -> None:
    """All inputs by name; raises InputError."""
    wanted = {array.name: array for array in io.arrays if array.kind != "output"}
    if wrong := sorted(set(inputs) ^ set(wanted)):
        problem = "is missing" if wrong[0] in wanted else "is not one of the model's"
        raise InputError(f"input {wrong[0]!r} {problem}; it has {', '.join(wanted) or 'none'}")
    for name, array in wanted.items():
        given = inputs[name]
        if given.shape != tuple(array.shape):
            raise InputError(
                f"input {name!r} must have shape {tuple(array.shape)}, not {given.shape}"
            )
        if given.dtype != dtype_of(array):
            raise InputError(
                f"input {name!r} must be of type {array.onnx_dtype}, not {given.dtype}"
            )
        if array.kind == "fixed":
            _check_fixed(array, given)
        elif given.size:
            _view(array, hbm)[...] = _as_fp32(name, given).reshape(-1)


def _check_fixed(array: Array, given: NDArray) -> None:
    value = np.array(array.value, np.float64)
    if not np.array_equal(given.astype(np.float64).reshape(-1), value, equal_nan=True):
        raise InputError(
            f"input {array.name!r} must be {list(array.value)}, for which the program was made"
        )


def _as_fp32(name: str, given: NDArray) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        result = given.astype(np.float32)
    if _is_integer(given.dtype) and not np.all(np.abs(given.astype(np.float64)) <= LARGEST_EXACT):
        raise InputError(f"input {name!r} holds integers of 2^24 or more, where fp32 is not exact")
    lost = np.isinf(result) & np.isfinite(given) if given.dtype == np.float64 else False
    if np.any(lost):
        raise InputError(f"input {name!r} holds {given[lost].flat[0]}, which fp32 does not reach")
    return result


def _is_integer(dtype: np.dtype) -> bool:
    return dtype.kind in "iu" or dtype.name.lstrip("u").startswith("int")


def read(io: IoMap, hbm: NDArray[np.uint8]) -> Arrays:
    """After the run: all outputs by name. Raises InputError where a guard says that the inputs were
    more than the program can take."""
    for guard in io.guards:
        value = float(hbm[guard.address : guard.address + 4].view(np.float32)[0])
        if not value <= guard.limit:
            raise InputError(guard.problem)
    return {array.name: _output(array, hbm) for array in io.arrays if array.kind == "output"}


def _output(array: Array, hbm: NDArray[np.uint8]) -> NDArray:
    dtype = dtype_of(array)
    if not math.prod(array.shape):
        return np.zeros(tuple(array.shape), dtype)
    numbers = _view(array, hbm)
    if _is_integer(dtype):
        _check_range(array, numbers, dtype)
    with np.errstate(over="ignore"):
        return numbers.astype(dtype).reshape(tuple(array.shape))


def _check_range(array: Array, numbers: NDArray[np.float32], dtype: np.dtype) -> None:
    """What a float is as an integer that cannot hold it, nobody says."""
    info = np.iinfo(dtype) if dtype.kind in "iu" else ml_dtypes.iinfo(dtype)
    inside = (numbers >= float(info.min)) & (numbers < float(info.max) + 1)
    if not inside.all():
        raise InputError(
            f"output {array.name!r} holds {numbers[~inside][0]}, which {dtype.name} cannot"
        )


def _view(array: Array, hbm: NDArray[np.uint8]) -> NDArray[np.float32]:
    size = 4 * math.prod(array.shape)
    return hbm[array.address : array.address + size].view(np.float32)
