"""Load and store engines of the functional simulator."""

from collections.abc import Callable

from sim.scalar import Command
from sim.state import State


def plan_dma(state: State, command: Command) -> tuple[Callable[[], None], int]:
    """The copy that `load` or `store` makes, and the SRAM lines it moves."""
    hbm, hstride, sram, sstride, rows, size = command.fields
    inside = state.rows("byte", sram, sstride, (rows, size))
    outside = state.hbm_rows(hbm, hstride, (rows, size))
    target, source = (inside, outside) if command.mnemonic == "load" else (outside, inside)

    def run() -> None:
        target[...] = source

    return run, rows * size // state.config.line_bytes
