"""The chip's memories as NumPy arrays, and checked views of the rows that an instruction names."""

import numpy as np
from numpy.typing import NDArray

from isa.config import ChipConfig
from sim.errors import SimulationError

_TYPES: dict[str, np.dtype] = {
    "f32": np.dtype(np.float32),
    "bf16": np.dtype(np.uint16),
    "byte": np.dtype(np.uint8),
}


class State:
    """SRAM (uint8) and accumulators (acc_rows, C) float32, zero at first, and HBM (uint8).

    The checks raise SimulationError with the field's name and value; the caller adds the
    instruction.
    """

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        self.sram = np.zeros(config.sram_bytes, np.uint8)
        self.acc = np.zeros((config.acc_rows, config.cols), np.float32)
        self.hbm = np.zeros(0, np.uint8)

    def rows(
        self, name: str, dtype: str, address: int, stride: int, shape: tuple[int, int]
    ) -> NDArray:
        """SRAM rows: shape (rows, elements) of float32, uint16 (bf16) or uint8, a view.

        ``name`` is the field that holds the address, for messages.
        """
        return self.blocks(name, dtype, address, (stride,), shape)

    def blocks(
        self, name: str, dtype: str, address: int, strides: tuple[int, ...], shape: tuple[int, ...]
    ) -> NDArray:
        """As `rows`, with more than one outer dimension; the innermost is contiguous."""
        element = _TYPES[dtype]
        size = element.itemsize
        end = address + shape[-1] * size
        for count, stride in zip(shape, strides, strict=False):
            end += (count - 1) * stride
        if end > self.config.sram_bytes:
            raise SimulationError(
                f"{name} = 0x{address:x}: the rows end at 0x{end:x}, behind the SRAM's "
                f"0x{self.config.sram_bytes:x} bytes"
            )
        return np.ndarray(shape, element, self.sram.data, address, (*strides, size))

    def accumulators(self, row: int, panel_stride: int, shape: tuple[int, int, int]) -> NDArray:
        """Accumulator rows ``row + i + j * panel_stride``: view of shape (rows i, panels j, C)."""
        rows, panels, cols = shape
        last = row + rows - 1 + (panels - 1) * panel_stride
        if last >= self.config.acc_rows:
            raise SimulationError(
                f"accumulator row {last} must be below acc_rows = {self.config.acc_rows}"
            )
        size = 4 * cols
        strides = (size, panel_stride * size, 4)
        return np.ndarray(shape, np.float32, self.acc.data, row * size, strides)

    def hbm_rows(self, atom: int, stride: int, shape: tuple[int, int]) -> NDArray[np.uint8]:
        """Rows of bytes in HBM; ``atom`` and ``stride`` in units of 64 bytes."""
        rows, width = shape
        start = atom * 64
        end = start + (rows - 1) * stride * 64 + width
        if end > self.hbm.size:
            raise SimulationError(
                f"hbm = 0x{atom:x}: the rows end at byte 0x{end:x}, behind the memory's "
                f"0x{self.hbm.size:x} bytes"
            )
        return np.ndarray(shape, np.uint8, self.hbm.data, start, (stride * 64, 1))


def want_multiple(name: str, value: int, unit: int) -> None:
    """SimulationError unless ``value`` is a multiple of ``unit``."""
    if value % unit:
        raise SimulationError(f"{name} must be a multiple of {unit}, not 0x{value:x}")


def want_positive(**sizes: int) -> None:
    """SimulationError for a size of zero: the chip does not define it."""
    for name, value in sizes.items():
        if value < 1:
            raise SimulationError(f"{name} must be at least 1, not {value}")


def want_apart(name: str, stride: int, rows: int, row_bytes: int) -> None:
    """SimulationError if rows that are written overlap: their order is not defined."""
    if rows > 1 and stride < row_bytes:
        raise SimulationError(f"{name} must be at least the row's {row_bytes} bytes, not {stride}")
