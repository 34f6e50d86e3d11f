"""Issue: brings the two sources together, vector by vector."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.vector_decode import Alu, settings_layout
from rtl.vector_operand import vector_layout
from rtl.vector_walk import VECTOR_BITS

_MINUS_INFINITY = 0xFF800000


def pair_layout(lanes: int) -> data.StructLayout:
    """Elements of both sources, fp32, and the vector's place in its row."""
    wide = unsigned(32 * lanes)
    return data.StructLayout({"a": wide, "b": wide, "first": 1, "last": 1})


class Issue(wiring.Component):
    """Joins vectors of a and b, masks those of vmask, fills up rows that are reduced.

    Latency 1 cycle, throughput one pair a cycle, back-pressure on all sides.

    Members
    -------
    start : pulse, an instruction begins
    settings : of the instruction, see `settings_layout`
    a, b : sources; b is not waited for where the instruction has no second one in memory
    o : stream of `pair_layout`
    issued : a pair is made in this cycle
    """

    def __init__(self, lanes: int):
        self._lanes = lanes
        vector = stream.Signature(vector_layout(lanes))
        super().__init__(
            {
                "start": In(1),
                "settings": In(settings_layout(lanes)),
                "a": In(vector),
                "b": In(vector),
                "o": Out(stream.Signature(pair_layout(lanes))),
                "issued": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        settings, a, b = self.settings, self.a, self.b
        needs_b = settings.pair & ~settings.scalar
        m.d.comb += [
            self.issued.eq(a.valid & (b.valid | ~needs_b) & (~self.o.valid | self.o.ready)),
            a.ready.eq(self.issued),
            b.ready.eq(self.issued & needs_b),
        ]
        with m.If(self.issued):
            m.d.sync += self.o.valid.eq(1)
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        limit = self._limit(m)
        padded = Signal()
        m.d.comb += padded.eq(settings.reduce & a.payload.last)
        fill = Mux(settings.alu == Alu.MAXIMUM, Const(_MINUS_INFINITY, 32), 0)
        left, right = [], []
        for lane in range(self._lanes):
            element = a.payload.lanes.word_select(lane, 32)
            masked = settings.mask & (limit <= lane)
            inside = Mux(masked, settings.b, element)
            left.append(Mux(padded & ~settings.tail[lane], fill, inside))
            element = b.payload.lanes.word_select(lane, 32)
            right.append(Mux(settings.scalar, settings.b, element))
        with m.If(self.issued):
            m.d.sync += [
                self.o.payload.a.eq(Cat(*left)),
                self.o.payload.b.eq(Cat(*right)),
                self.o.payload.first.eq(a.payload.first),
                self.o.payload.last.eq(a.payload.last),
            ]
        return m

    def _limit(self, m: Module) -> Signal:
        """vmask: how many elements stay, counted from lane 0 of the present vector."""
        of_row = Signal(17)
        limit = Signal(signed(VECTOR_BITS + 2))
        with m.If(self.start):
            m.d.sync += [of_row.eq(self.settings.limit), limit.eq(self.settings.limit)]
        with m.Elif(self.issued & self.a.payload.last):
            m.d.sync += [of_row.eq(of_row + 1), limit.eq(of_row + 1)]
        with m.Elif(self.issued):
            m.d.sync += limit.eq(limit - self._lanes)
        return limit
