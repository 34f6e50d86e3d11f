"""Watchdog: notices that nothing moves any more."""

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Watchdog(wiring.Component):
    """`expired` after ``cycles`` cycles in a row with `running` and without `progress`.

    Members: `running`, `progress`; `expired` stays until there is progress.
    """

    def __init__(self, cycles: int):
        if cycles < 1:
            raise ValueError(f"Watchdog cycles must be at least 1, not {cycles!r}")
        self._cycles = cycles
        super().__init__({"running": In(1), "progress": In(1), "expired": Out(1)})

    def elaborate(self, platform):
        m = Module()
        quiet = Signal(range(self._cycles + 1))
        m.d.comb += self.expired.eq(quiet == self._cycles)
        with m.If(self.progress | ~self.running):
            m.d.sync += quiet.eq(0)
        with m.Elif(~self.expired):
            m.d.sync += quiet.eq(quiet + 1)
        return m
