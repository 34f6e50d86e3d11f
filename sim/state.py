"""The chip's memories as NumPy arrays, and views of the rows that an instruction names."""

import numpy as np
from numpy.typing import NDArray

from isa.config import HBM_ATOM_BYTES, ChipConfig

_BYTE = np.dtype(np.uint8)
_TYPES: dict[str, np.dtype] = {"f32": np.dtype(np.float32), "bf16": np.dtype(np.uint16)}


class State:
    """SRAM (uint8) and accumulators (acc_rows, C), zero at first, and HBM (uint8).

    Accumulators are float32, of int8 arrays int32. The views are of legal operands (`isa.legal`).
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        self.sram = np.zeros(config.sram_bytes, np.uint8)
        kind = np.int32 if config.element == "int8" else np.float32
        self.acc = np.zeros((config.acc_rows, config.cols), kind)
        self.hbm = np.zeros(0, np.uint8)

    def rows(self, dtype: str, address: int, stride: int, shape: tuple[int, int]) -> NDArray:
        """SRAM rows: shape (rows, elements) of float32, uint16 (bf16) or uint8 (others), a view."""
        return self.blocks(dtype, address, (stride,), shape)

    def blocks(
        self, dtype: str, address: int, strides: tuple[int, ...], shape: tuple[int, ...]
    ) -> NDArray:
        """As `rows`, with more than one outer dimension; the innermost is contiguous."""
        element = _TYPES.get(dtype, _BYTE)
        return np.ndarray(shape, element, self.sram.data, address, (*strides, element.itemsize))

    def accumulators(self, row: int, panel_stride: int, shape: tuple[int, int, int]) -> NDArray:
        """Accumulator rows ``row + i + j * panel_stride``: view of shape (rows i, panels j, C)."""
        size = self.acc.strides[0]
        strides = (size, panel_stride * size, self.acc.itemsize)
        return np.ndarray(shape, self.acc.dtype, self.acc.data, row * size, strides)

    def hbm_rows(
        self, atom: int, strides: tuple[int, ...], shape: tuple[int, ...], offset: int = 0
    ) -> NDArray[np.uint8]:
        """Rows of bytes in HBM; ``atom`` and ``strides`` in units of 64 bytes, ``offset`` in
        bytes."""
        steps = (*(HBM_ATOM_BYTES * stride for stride in strides), 1)
        start = HBM_ATOM_BYTES * atom + offset
        return np.ndarray(shape, np.uint8, self.hbm.data, start, steps)
