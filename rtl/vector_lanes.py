"""Lanes: the arithmetic of the vector unit."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.float import split, wire
from rtl.platform import place
from rtl.special import SpecialFunctions
from rtl.vector_issue import pair_layout
from rtl.vector_lane import INDEX_BITS, Lane
from rtl.vector_settings import Alu, settings_layout


def result_layout(lanes: int) -> data.StructLayout:
    """Result of each lane, fp32, and whether it is the last vector of its row."""
    return data.StructLayout({"lanes": unsigned(32 * lanes), "last": 1})


class Lanes(wiring.Component):
    """One result for each pair of vectors, or for each row that is reduced.

    Latency 1 cycle; special functions 3; a reduction log2(lanes) + 1 behind its row's last vector.
    Throughput one vector a cycle, less log2(lanes) cycles after each row that is reduced, in which
    the lanes' own adders fold: lane i takes in lane i + s for s = lanes/2 … 1. Back-pressure: while
    `o` is refused everything stands still.

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
        go, folding, taken = Signal(), Signal(), Signal()
        fold = Signal(max(1, (self._lanes - 1).bit_length()))  # bit k: fold lanes 2^k apart
        m.d.comb += [
            go.eq(~self.o.valid | self.o.ready),
            folding.eq(fold.any()),
            self.i.ready.eq(go & ~folding),
            taken.eq(self.i.valid & self.i.ready),
        ]
        special_valid, special_last, special = self._special(m, go, taken)
        valid, last = self._sequence(m, go, taken, fold)
        results, first_place = self._results(m, platform, taken, go & folding, fold)
        is_special = self.settings.alu == Alu.SPECIAL
        lane_0 = Mux(self.settings.index, first_place, results[:32])
        m.d.comb += [
            self.o.valid.eq(valid | special_valid),
            self.o.payload.last.eq(Mux(is_special, special_last, last)),
            self.o.payload.lanes.eq(Mux(is_special, special, Cat(lane_0, results[32:]))),
        ]
        return m

    def _special(self, m: Module, go: Signal, taken: Signal) -> tuple[Value, Value, Value]:
        """valid, last and values of the special functions' results."""
        m.submodules.functions = functions = SpecialFunctions(self._lanes)
        valid, last = Signal(functions.latency), Signal(functions.latency)
        m.d.comb += [functions.go.eq(go), functions.function.eq(self.settings.function)]
        m.d.comb += Cat(*functions.x).eq(self.i.payload.a)
        entering = taken & (self.settings.alu == Alu.SPECIAL)
        with m.If(go):
            m.d.sync += [
                valid.eq(Cat(entering, valid)),
                last.eq(Cat(self.i.payload.last, last)),
            ]
        return valid[-1], last[-1], Cat(*functions.y)

    def _sequence(
        self, m: Module, go: Signal, taken: Signal, fold: Signal
    ) -> tuple[Signal, Signal]:
        """Step the folding; returns valid and last of what is in the result registers."""
        valid, last = Signal(), Signal()
        reduces, to_fold = self.settings.reduce, self._lanes > 1
        with m.If(go):
            ended = taken & self.i.payload.last
            m.d.sync += [
                fold.eq(Mux(ended & reduces, to_fold << len(fold) - 1, fold >> 1)),
                last.eq(self.i.payload.last),
                valid.eq(
                    Mux(
                        reduces,
                        (fold == 1) if to_fold else ended,
                        taken & (self.settings.alu != Alu.SPECIAL),
                    )
                ),
            ]
        return valid, last

    def _results(
        self, m: Module, platform: object, taken: Signal, folds: Value, fold: Signal
    ) -> tuple[Signal, Value]:
        """The lanes' result registers side by side, and the place that lane 0 has found."""
        pairs, settings = self.i.payload, self.settings
        rotated = self._rotate(m, pairs.a)
        results = Signal(32 * self._lanes)
        places = Signal(INDEX_BITS * self._lanes)
        partners = self._partners(m, fold, pairs.a, results, 32)
        origins = self._partners(m, fold, self._columns(m, taken), places, INDEX_BITS)
        begins = settings.reduce & pairs.first & ~fold.any()
        shared = {"load": taken | folds, "alu": settings.alu, "reduce": settings.reduce}
        shared |= {"index": settings.index, "begins": begins}
        shared = {name: wire(m, value, f"shared_{name}") for name, value in shared.items()}
        own = {"a": pairs.a, "b": pairs.b, "rotated": rotated}
        own |= {"partner": partners, "partner_place": origins}
        parts = {name: split(m, value, self._lanes, name) for name, value in own.items()}
        lanes = []
        for lane in range(self._lanes):
            inputs = shared | {name: values[lane] for name, values in parts.items()}
            lanes.append(place(m, platform, f"lane_{lane}", "jx_vector_lane", Lane, inputs))
        m.d.comb += [
            results.eq(Cat(x["o"] for x in lanes)),
            places.eq(Cat(x["place"] for x in lanes)),
        ]
        return results, lanes[0]["place"]

    def _columns(self, m: Module, taken: Signal) -> Value:
        """Where in their row the elements of the present vector lie."""
        lane_bits = (self._lanes - 1).bit_length()
        following = Signal(INDEX_BITS - lane_bits)
        number = wire(m, Mux(self.i.payload.first, 0, following), "number")
        with m.If(taken):
            m.d.sync += following.eq(number + 1)
        return Cat(Cat(Const(lane, lane_bits), number) for lane in range(self._lanes))

    def _partners(
        self, m: Module, fold: Signal, entering: Value, held: Signal, bits: int
    ) -> Signal:
        """What comes to each lane: of a new vector its own part, in a fold that of another lane."""
        steps = len(fold) if self._lanes > 1 else 0
        parts = []
        for least in range(steps + 1):  # lanes from 2^least / 2 up to 2^least take in from there on
            start, stop = bits << least >> 1 if least else 0, bits << least
            part = entering[start:stop]
            for step in range(least, steps):
                size = bits << step
                part = Mux(fold[step], held[size + start : size + stop], part)
            parts.append(part)
        return wire(m, Cat(*parts), f"partners_{bits}")

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
