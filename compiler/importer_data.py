"""Tensors of ONNX files: those in external data files are mapped, not read, or stood in for."""

import mmap
import zlib
from pathlib import Path

import numpy as np
import onnx
from onnx import checker, external_data_helper, helper, numpy_helper

from compiler.deferred import LARGE_BYTES
from compiler.errors import CompileError

_T = onnx.TensorProto
_FLOATS = {_T.FLOAT, _T.FLOAT16, _T.BFLOAT16, _T.DOUBLE}
_STOOD_IN_FOR = _FLOATS | {_T.INT8, _T.UINT8, _T.INT4, _T.UINT4}


def find_external_data(model: onnx.ModelProto, path: Path) -> None:
    """Small external tensors are read; large ones keep a reference, to an absolute file name. Every
    file must exist and be long enough."""
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _find(tensor, path)


def stand_in_for_data(model: onnx.ModelProto, path: Path) -> None:
    """External tensors are absent: numbers that mean nothing stand in for them, so that what takes
    time can be compiled. CompileError for those that decide what is computed."""
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            if tensor.data_type not in _STOOD_IN_FOR:
                kind = helper.tensor_dtype_to_string(tensor.data_type).removeprefix("TensorProto.")
                raise CompileError(
                    str(path),
                    f'tensor "{tensor.name}" of {kind} has no values',
                    "--no-weights stands in for floats and for integers of 8 bits or fewer",
                )
            del tensor.external_data[:]


def is_mapped(model: onnx.ModelProto) -> bool:
    """Whether tensors lie in other files."""
    return any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer)


def array_of(tensor: onnx.TensorProto) -> np.ndarray:
    """A tensor's value; CompileError if it is damaged."""
    try:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            return _mapped(tensor) if tensor.external_data else _stand_in(tensor)
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OSError) as error:
        raise CompileError(f'tensor "{tensor.name}"', f"it is damaged: {error}") from error


def _mapped(tensor: onnx.TensorProto) -> np.ndarray:
    """Read-only, in memory only as long as somebody uses it."""
    info = {entry.key: entry.value for entry in tensor.external_data}
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    offset = int(info.get("offset", 0))
    page = offset // mmap.ALLOCATIONGRANULARITY * mmap.ALLOCATIONGRANULARITY
    size = int(np.prod(tensor.dims, dtype=np.int64)) * dtype.itemsize
    with open(info["location"], "rb") as file:
        data = mmap.mmap(file.fileno(), offset - page + size, access=mmap.ACCESS_READ, offset=page)
    return np.ndarray(tuple(tensor.dims), dtype, data, offset - page)


def _stand_in(tensor: onnx.TensorProto) -> np.ndarray:
    """Numbers of 0.5 … 1.5, or small codes, the same for each name: none is 0, 1 or like others."""
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    dice = np.random.default_rng(zlib.crc32(tensor.name.encode()))
    if tensor.data_type in _FLOATS:
        return (dice.random(tuple(tensor.dims), np.float32) + np.float32(0.5)).astype(dtype)
    return dice.integers(1, 7, tuple(tensor.dims), np.uint8).astype(dtype)


def _find(tensor: onnx.TensorProto, path: Path) -> None:
    info = {entry.key: entry.value for entry in tensor.external_data}
    file = path.parent / info.get("location", "")
    if not info.get("location") or not file.is_file():
        raise CompileError(
            str(path),
            f'the external data file "{file}" of tensor "{tensor.name}" is missing',
            "put it beside the model",
        )
    try:
        length = int(info.get("length", 0))
        end = int(info.get("offset", 0)) + length
    except ValueError as error:
        raise CompileError(
            str(path), f'tensor "{tensor.name}" has no numeric offset and length, not {info!r}'
        ) from error
    size = file.stat().st_size
    if end > size:
        raise CompileError(
            str(path),
            f'the external data file "{file}" is truncated: tensor "{tensor.name}" ends at byte '
            f"{end}, the file at {size}",
            "export or copy it again",
        )
    inside = file.resolve().is_relative_to(path.parent.resolve())
    plain = length == _bytes_of(tensor) and int(info.get("offset", 0)) >= 0
    if length < LARGE_BYTES or not inside or not plain:
        _read(tensor, path)  # onnx refuses what lies outside of the model's folder
        return
    del tensor.external_data[:]
    for key, value in {**info, "location": str(file.resolve())}.items():
        tensor.external_data.add(key=key, value=value)


def _bytes_of(tensor: onnx.TensorProto) -> int:
    """Size of a tensor whose elements are whole bytes; 0 for others."""
    packed = (onnx.TensorProto.INT4, onnx.TensorProto.UINT4, onnx.TensorProto.FLOAT4E2M1)
    known = tensor.data_type in helper.get_all_tensor_dtypes()
    if not known or tensor.data_type in (*packed, onnx.TensorProto.STRING):
        return 0
    item = helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
    return int(np.prod(tensor.dims, dtype=np.int64)) * item


def _read(tensor: onnx.TensorProto, path: Path) -> None:
    """Into the model itself."""
    try:
        external_data_helper.load_external_data_for_tensor(tensor, str(path.parent))
    except (checker.ValidationError, ValueError, OSError) as error:
        problem = f"its external data cannot be read: {str(error).strip().splitlines()[0]}"
        raise CompileError(str(path), problem) from error
    tensor.data_location = onnx.TensorProto.DEFAULT
    del tensor.external_data[:]
