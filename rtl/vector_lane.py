"""Lane: one lane's adder, multiplier and comparator, and its result register."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.float import canonical, fp_add, fp_extremes, fp_mul, negative, wire
from rtl.vector_settings import Alu

INDEX_BITS = 20  # of a place in a row


class Lane(wiring.Component):
    """What becomes of a pair of elements, or of a row's elements that come to this lane.

    Latency 1 cycle, no back-pressure: registers change with `load` only.

    Members
    -------
    load : take what comes
    alu : see `Alu`; SPECIAL leaves nothing defined
    a, b, rotated : elements of the sources, that of a from the lane that vrot says; fp32
    reduce, begins : reduction: a is added or compared to the result; the row begins
    index : the place counts, not the value: -0 equals +0
    column : where in the row a lies
    o, place : result, fp32 and canonical; of a reduction by MAXIMUM, its first place
    """

    def __init__(self) -> None:
        inputs = {"load": 1, "alu": Alu, "a": 32, "b": 32, "rotated": 32, "reduce": 1, "begins": 1}
        inputs |= {"index": 1, "column": INDEX_BITS}
        ports = {name: In(shape) for name, shape in inputs.items()}
        super().__init__(ports | {"o": Out(32), "place": Out(INDEX_BITS)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        alu = self.alu
        left = wire(m, Mux(self.reduce, self.o, self.a), "left")
        right = wire(m, Mux(self.reduce, self.a, self.b), "right")
        addend = Mux(alu == Alu.SUBTRACT, negative(right), right)
        total = fp_add(m, left, addend, "add")
        product = fp_mul(m, self.a, self.b, "mul")
        unsigned_zero = self.index & (right[:31] == 0)
        compared = Cat(right[:31], right[31] & ~unsigned_zero)
        extremes = fp_extremes(m, left, compared, "compared")
        moved = self._moved(m)
        value = Signal(32)
        with m.If(self.begins):
            m.d.comb += value.eq(moved)
        with m.Else():
            with m.Switch(alu):
                with m.Case(Alu.ADD, Alu.SUBTRACT):
                    m.d.comb += value.eq(total)
                with m.Case(Alu.MULTIPLY):
                    m.d.comb += value.eq(product)
                with m.Case(Alu.MAXIMUM):
                    m.d.comb += value.eq(extremes.maximum)
                with m.Case(Alu.MINIMUM):
                    m.d.comb += value.eq(extremes.minimum)
                with m.Default():
                    m.d.comb += value.eq(moved)
        with m.If(self.load):
            m.d.sync += self.o.eq(value)
        with m.If(self.load & (self.begins | extremes.above)):
            m.d.sync += self.place.eq(self.column)
        return m

    def _moved(self, m: Module) -> Signal:
        """a on its way through, canonical."""
        moved = canonical(m, Mux(self.alu == Alu.ROTATE, self.rotated, self.a), "canonical")
        unsigned = (self.alu == Alu.ABSOLUTE) | (self.index & (moved[:31] == 0))
        return wire(m, Cat(moved[:31], moved[31] & ~unsigned), "moved")
