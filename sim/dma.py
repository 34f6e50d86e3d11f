"""Load and store engines of the functional simulator."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from isa.config import HBM_ATOM_BYTES
from isa.rules import INDEX_BYTES
from sim.scalar import Command
from sim.state import State

Plan = tuple[Callable[[], None], int]


class BusError(Exception):
    """The memory refuses an access, which nobody can know before the instruction is executed."""


def plan_dma(state: State, command: Command) -> Plan:
    """The copy that an instruction makes, and the SRAM lines it moves."""
    hbm, hstride, sram, sstride, rows, size, offset, planes, hplane, splane = command.fields
    config = state.config
    lines = rows * -(-size // config.line_bytes)
    filled = size + -size % config.byte_vector_bytes  # of a row that is written to SRAM
    if command.mnemonic == "gather":
        target = state.rows("byte", sram, sstride, (rows, filled))
        numbers = np.ndarray(rows, np.uint32, state.sram.data, hplane, INDEX_BYTES)
        start = HBM_ATOM_BYTES * hbm + offset
        return _gather(state, target, (start, HBM_ATOM_BYTES * hstride, size), numbers), lines
    length = filled if command.mnemonic == "load" else size
    inside = state.blocks("byte", sram, (splane, sstride), (planes, rows, length))
    outside = state.hbm_rows(hbm, (hplane, hstride), (planes, rows, size), offset)

    def load() -> None:
        inside[..., :size] = outside
        inside[..., size:] = 0

    def store() -> None:
        outside[...] = inside

    return load if command.mnemonic == "load" else store, planes * lines


def _gather(
    state: State, target: NDArray[np.uint8], place: tuple[int, int, int], numbers: NDArray
) -> Callable[[], None]:
    """``place``: byte address of row number 0, distance of the rows, their length. 64 bits hold
    every address that an instruction can make."""
    start, distance, size = place
    runs = np.ndarray((state.hbm.size - size + 1, size), np.uint8, state.hbm.data, 0, (1, 1))

    def run() -> None:
        first = start + numbers.astype(np.int64) * distance
        if first.max() >= len(runs):
            raise BusError
        target[:, :size] = runs[first]
        target[:, size:] = 0

    return run
