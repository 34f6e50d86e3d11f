"""Lanes: the arithmetic of the vector unit."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.float import split, wire
from rtl.platform import place
from rtl.special import SpecialFunctions
from rtl.vector_fold import Fold
from rtl.vector_issue import pair_layout
from rtl.vector_lane import INDEX_BITS, Lane
from rtl.vector_settings import Alu, settings_layout


def result_layout(lanes: int) -> data.StructLayout:
    """Result of each lane, fp32, and whether it is the last vector of its row."""
    return data.StructLayout({"lanes": unsigned(32 * lanes), "last": 1})


class Lanes(wiring.Component):
    """One result for each pair of vectors, or for each row that is reduced.

    Latency 1 cycle; special functions 3; a reduction log2(lanes) + 1 behind its row's last vector.
    Throughput one vector a cycle: while a row is folded the next one enters the lanes.
    Back-pressure: while `o` is refused everything stands still.

    Members
    -------
    settings : of the instruction, see `settings_layout`; must not change while vectors are inside
    i : stream of `pair_layout`
    o : stream of `result_layout`; of a reduction, only lane 0 is defined: where the settings ask
        for the index, it is an integer
    """

    def __init__(self, lanes: int):
        self._lanes = lanes
        super().__init__(
            {
                "settings": In(settings_layout(lanes)),
                "i": In(stream.Signature(pair_layout(lanes))),
                "o": Out(stream.Signature(result_layout(lanes))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        go, taken = Signal(), Signal()
        settings, functions = self.settings, SpecialFunctions(self._lanes)
        m.d.comb += [
            go.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(go),
            taken.eq(self.i.valid & go),
        ]
        special = settings.alu == Alu.SPECIAL
        arrives = wire(m, taken & ~special & (~settings.reduce | self.i.payload.last), "arrives")
        valid, last = self._follow(m, go, arrives, 1)
        special_valid, special_last = self._follow(m, go, taken & special, functions.latency)
        results, places = self._results(m, platform, taken)
        m.submodules.functions = functions
        m.submodules.fold = fold = Fold(self._lanes)
        m.d.comb += [
            functions.go.eq(go),
            functions.function.eq(settings.function),
            Cat(*functions.x).eq(self.i.payload.a),
            fold.go.eq(go),
            fold.adds.eq(settings.alu == Alu.ADD),
            fold.valid.eq(valid & settings.reduce),
            fold.values.eq(results),
            fold.places.eq(places),
        ]
        folded = Mux(settings.index, fold.place, fold.o)
        lane_0 = Mux(settings.reduce, folded, results[:32])
        m.d.comb += [
            self.o.valid.eq(Mux(settings.reduce, fold.folded, valid | special_valid)),
            self.o.payload.last.eq(Mux(special, special_last, last)),
            self.o.payload.lanes.eq(Mux(special, Cat(*functions.y), Cat(lane_0, results[32:]))),
        ]
        return m

    def _follow(self, m: Module, go: Signal, entering: Value, cycles: int) -> tuple[Value, Value]:
        """valid and last of what has entered ``cycles`` ago."""
        valid, last = Signal(cycles), Signal(cycles)
        with m.If(go):
            m.d.sync += [
                valid.eq(Cat(entering, valid)),
                last.eq(Cat(self.i.payload.last, last)),
            ]
        return valid[-1], last[-1]

    def _results(self, m: Module, platform: object, taken: Signal) -> tuple[Signal, Signal]:
        """The lanes' result registers side by side, and the places of what they have found."""
        pairs, settings = self.i.payload, self.settings
        rotated = self._rotate(m, pairs.a)
        results = Signal(32 * self._lanes)
        places = Signal(INDEX_BITS * self._lanes)
        begins = settings.reduce & pairs.first
        shared = {"load": taken, "alu": settings.alu, "reduce": settings.reduce}
        shared |= {"index": settings.index, "begins": begins}
        shared = {name: wire(m, value, f"shared_{name}") for name, value in shared.items()}
        own = {"a": pairs.a, "b": pairs.b, "rotated": rotated, "column": self._columns(m, taken)}
        parts = {name: split(m, value, self._lanes, name) for name, value in own.items()}
        lanes = []
        for lane in range(self._lanes):
            inputs = shared | {name: values[lane] for name, values in parts.items()}
            lanes.append(place(m, platform, f"lane_{lane}", "jx_vector_lane", Lane, inputs))
        m.d.comb += [
            results.eq(Cat(x["o"] for x in lanes)),
            places.eq(Cat(x["place"] for x in lanes)),
        ]
        return results, places

    def _columns(self, m: Module, taken: Signal) -> Value:
        """Where in their row the elements of the present vector lie."""
        lane_bits = (self._lanes - 1).bit_length()
        following = Signal(INDEX_BITS - lane_bits)
        number = wire(m, Mux(self.i.payload.first, 0, following), "number")
        with m.If(taken):
            m.d.sync += following.eq(number + 1)
        return Cat(Cat(Const(lane, lane_bits), number) for lane in range(self._lanes))

    def _rotate(self, m: Module, x: Value) -> Signal:
        """Lane i takes lane i + shift where that is below cols, otherwise i + wrap."""
        near = self._turn(m, x, self.settings.shift, "near")
        far = self._turn(m, x, self.settings.wrap, "far")
        stay = wire(m, self.settings.stay, "stay")
        of_lane = [wire(m, stay > lane, f"stay_{lane}") for lane in range(self._lanes)]
        stays = wire(m, Cat(stays.replicate(32) for stays in of_lane), "stays")
        return wire(m, near & stays | far & ~stays, "rotated")

    def _turn(self, m: Module, x: Value, places: Value, name: str) -> Value:
        """All lanes turned down by `places`, modulo the lanes, in binary steps."""
        for bit in range(len(places)):
            size = 32 << bit
            x = wire(m, Mux(places[bit], Cat(x[size:], x[:size]), x), f"{name}_{bit}")
        return x
