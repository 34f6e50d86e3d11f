"""Delay: registers one behind the other."""

from functools import partial

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.platform import place


class Delay(wiring.Component):
    """`o` is `i` of `cycles` cycles before, 0 after a reset. Throughput: one value a cycle."""

    def __init__(self, bits: int, cycles: int):
        self._cycles = cycles
        super().__init__({"i": In(bits), "o": Out(bits)})

    def elaborate(self, platform):
        m = Module()
        value = self.i
        for step in range(self._cycles):
            stage = Signal(len(self.i), name=f"stage_{step}")
            m.d.sync += stage.eq(value)
            value = stage
        m.d.comb += self.o.eq(value)
        return m


def delayed(m: Module, platform: object, value: Value, cycles: int, name: str) -> Value:
    """The value, `cycles` cycles later: Delays of 1, 2, 4, ... cycles, each emitted once.

    The array needs delays of all lengths: so many registers of their own would be most of it.
    """
    for bit in range(cycles.bit_length()):
        length = 1 << bit
        if cycles & length:
            make = partial(Delay, len(value), length)
            module = f"jx_delay_{len(value)}_{length}"
            value = place(m, platform, f"{name}_{length}", module, make, {"i": value})["o"]
    return value
