"""Load and store engines of the functional simulator."""

from collections.abc import Callable

from sim.scalar import Command
from sim.state import State, want_apart, want_multiple, want_positive


def plan_dma(state: State, command: Command) -> tuple[Callable[[], None], int]:
    """The copy that `load` or `store` makes, and the SRAM lines it moves."""
    hbm, hstride, sram, sstride, rows, size = command.fields
    line = state.config.line_bytes
    want_positive(rows=rows, bytes=size)
    for name, value in (("sram", sram), ("sstride", sstride), ("bytes", size)):
        want_multiple(name, value, line)
    inside = state.rows("sram", "byte", sram, sstride, (rows, size))
    outside = state.hbm_rows(hbm, hstride, (rows, size))
    if command.mnemonic == "load":
        want_apart("sstride", sstride, rows, size)
        target, source = inside, outside
    else:
        want_apart("64 hstride", 64 * hstride, rows, size)
        target, source = outside, inside

    def run() -> None:
        target[...] = source

    return run, rows * size // line
