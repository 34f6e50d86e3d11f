"""Divider: unsigned integer division, one bit of the quotient a cycle."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Divider(wiring.Component):
    """Restoring division.

    Latency: ``bits`` + 1 cycles from `valid` to `done`; one division at a time.

    Members
    -------
    valid, dividend, divisor : the request, stable until `clear`
    done, quotient : dividend // divisor (all ones for a divisor of 0); stay until `clear`
    clear : the request is over; the next one may come in the following cycle
    """

    def __init__(self, bits: int):
        if bits < 1:
            raise ValueError(f"Divider bits must be at least 1, not {bits!r}")
        self._bits = bits
        super().__init__(
            {
                "valid": In(1),
                "dividend": In(bits),
                "divisor": In(bits),
                "done": Out(1),
                "quotient": Out(bits),
                "clear": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bits = self._bits
        left = Signal(range(bits + 1))  # quotient bits to come
        working = Signal()
        remainder, shifted = Signal(bits), Signal(bits + 1)
        fits = Signal()
        m.d.comb += [
            # The dividend leaves `quotient` at the top while the quotient enters below.
            shifted.eq(Cat(self.quotient[-1], remainder)),
            fits.eq(shifted >= self.divisor),
        ]
        with m.If(self.clear):
            m.d.sync += [working.eq(0), self.done.eq(0)]
        with m.Elif(self.valid & ~working & ~self.done):
            m.d.sync += [
                working.eq(1),
                left.eq(bits),
                remainder.eq(0),
                self.quotient.eq(self.dividend),
            ]
        with m.Elif(working):
            m.d.sync += [
                remainder.eq(Mux(fits, shifted - self.divisor, shifted)),
                self.quotient.eq(Cat(fits, self.quotient)),
                left.eq(left - 1),
            ]
            with m.If(left == 1):
                m.d.sync += [working.eq(0), self.done.eq(1)]
        return m
