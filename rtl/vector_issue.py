"""Issue: brings the two sources together, vector by vector."""

from functools import partial

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from rtl.float import split, wire
from rtl.platform import place
from rtl.vector_operand import vector_layout
from rtl.vector_settings import Alu, settings_layout
from rtl.vector_source import SourceLane
from rtl.vector_walk import VECTOR_BITS

_MINUS_INFINITY = 0xFF800000
_WIDTHS = {"word": 32, "half": 16, "byte": 8}
_WIDTHS_OF_B = {"word": 32, "half": 16}


def pair_layout(lanes: int) -> data.StructLayout:
    """Elements of both sources, fp32, and the vector's place in its row."""
    wide = unsigned(32 * lanes)
    return data.StructLayout({"a": wide, "b": wide, "first": 1, "last": 1})


class Issue(wiring.Component):
    """Joins vectors of a and b as fp32, masks them, fills up rows that are reduced.

    Latency 1 cycle, throughput one pair a cycle, back-pressure on all sides.

    Members
    -------
    start : pulse, an instruction begins
    settings : of the instruction, see `settings_layout`
    a, b : sources; b is not waited for where the instruction has no second one in memory
    o : stream of `pair_layout`
    issued : a pair is made in this cycle
    """

    def __init__(self, config: ChipConfig):
        self._config, self._lanes = config, config.lanes
        vector = stream.Signature(vector_layout(config.lanes))
        super().__init__(
            {
                "start": In(1),
                "settings": In(settings_layout(config.lanes)),
                "a": In(vector),
                "b": In(vector),
                "o": Out(stream.Signature(pair_layout(config.lanes))),
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
            m.d.sync += [
                self.o.valid.eq(1),
                self.o.payload.first.eq(a.payload.first),
                self.o.payload.last.eq(a.payload.last),
            ]
        with m.Elif(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        self._lanes_of(m, platform)
        return m

    def _lanes_of(self, m: Module, platform: object) -> None:
        """The lanes, and which of their elements are masked or missing."""
        settings, a, b = self.settings, self.a.payload.lanes, self.b.payload.lanes
        limit = self._limit(m)
        masked, padding = Signal(self._lanes), Signal(self._lanes)
        behind = Cat(limit <= lane for lane in range(self._lanes))
        reduces = settings.reduce & self.a.payload.last
        m.d.comb += [
            masked.eq(Mux(settings.mask, behind ^ settings.far.replicate(self._lanes), 0)),
            padding.eq(Mux(reduces, ~settings.tail, 0)),
        ]
        fill = Mux(settings.alu == Alu.MAXIMUM, Const(_MINUS_INFINITY, 32), 0)
        shared = {"load": self.issued, "value": settings.b, "scalar": settings.scalar, "fill": fill}
        shared |= {"kind_a": settings.kind_a, "kind_b": settings.kind_b}
        shared = {name: wire(m, value, f"shared_{name}") for name, value in shared.items()}
        make = partial(SourceLane, integers=self._config.element == "int8")
        parts = {
            f"{part}_{source}": split(
                m, lanes[: bits * self._lanes], self._lanes, f"{part}_{source}"
            )
            for source, lanes, widths in (("a", a, _WIDTHS), ("b", b, _WIDTHS_OF_B))
            for part, bits in widths.items()
        }
        pairs: list[dict[str, Value]] = []
        for lane in range(self._lanes):
            inputs = shared | {name: values[lane] for name, values in parts.items()}
            inputs |= {
                "masked": masked[lane],
                "padding": padding[lane],
            }
            pairs.append(place(m, platform, f"lane_{lane}", "jx_vector_source", make, inputs))
        m.d.comb += [
            self.o.payload.a.eq(Cat(pair["a"] for pair in pairs)),
            self.o.payload.b.eq(Cat(pair["b"] for pair in pairs)),
        ]

    def _limit(self, m: Module) -> Signal:
        """Masks: how many elements lie before the limit, counted from lane 0 of this vector."""
        of_row = Signal(signed(18))
        limit = Signal(signed(VECTOR_BITS + 2))
        with m.If(self.start):
            m.d.sync += [of_row.eq(self.settings.limit), limit.eq(self.settings.limit)]
        with m.Elif(self.issued & self.a.payload.last):
            m.d.sync += [of_row.eq(of_row + 1), limit.eq(of_row + 1)]
        with m.Elif(self.issued):
            m.d.sync += limit.eq(limit - self._lanes)
        return limit
