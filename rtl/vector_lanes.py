"""Lanes: the arithmetic of the vector unit."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from rtl.float import canonical, fp_add, fp_max, fp_min, fp_mul, negative, wire
from rtl.special import SpecialFunctions
from rtl.vector_decode import Alu, settings_layout
from rtl.vector_issue import pair_layout


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
    o : stream of `result_layout`; of a reduction, only lane 0 is defined
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
        results = [Signal(32, name=f"result_{lane}") for lane in range(self._lanes)]
        left = self._split(m, self.i.payload.a, "a")
        right = self._split(m, self.i.payload.b, "b")
        special_valid, special_last, special = self._special(m, go, taken, left)
        valid, last = self._sequence(m, go, taken, fold)
        rotated = self._rotate(m, left)
        for lane in range(self._lanes):
            value = self._lane(m, lane, left, right[lane], rotated[lane], results, fold)
            with m.If(taken | (go & folding)):
                m.d.sync += results[lane].eq(value)
        is_special = self.settings.alu == Alu.SPECIAL
        m.d.comb += [
            self.o.valid.eq(valid | special_valid),
            self.o.payload.last.eq(Mux(is_special, special_last, last)),
        ]
        chosen = [Mux(is_special, s, r) for s, r in zip(special, results, strict=True)]
        m.d.comb += self.o.payload.lanes.eq(Cat(*chosen))
        return m

    def _split(self, m: Module, vector: Value, name: str) -> list[Signal]:
        return [
            wire(m, vector.word_select(lane, 32), f"{name}_{lane}") for lane in range(self._lanes)
        ]

    def _special(
        self, m: Module, go: Signal, taken: Signal, x: list[Signal]
    ) -> tuple[Value, Value, list[Signal]]:
        """valid, last and values of the special functions' results."""
        m.submodules.functions = functions = SpecialFunctions(self._lanes)
        valid, last = Signal(functions.latency), Signal(functions.latency)
        m.d.comb += [functions.go.eq(go), functions.function.eq(self.settings.function)]
        m.d.comb += [port.eq(value) for port, value in zip(functions.x, x, strict=True)]
        entering = taken & (self.settings.alu == Alu.SPECIAL)
        with m.If(go):
            m.d.sync += [
                valid.eq(Cat(entering, valid)),
                last.eq(Cat(self.i.payload.last, last)),
            ]
        return valid[-1], last[-1], list(functions.y)

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

    def _lane(
        self,
        m: Module,
        lane: int,
        a: list[Signal],
        b: Signal,
        rotated: Signal,
        results: list[Signal],
        fold: Signal,
    ) -> Signal:
        """What becomes of the lane's result register."""
        name = f"lane{lane}"
        reduces, alu = self.settings.reduce, self.settings.alu
        partner = Signal(32, name=f"{name}_partner")  # of a reduction: what comes to the result
        with m.Switch(fold):
            for bit in range(lane.bit_length(), len(fold) if self._lanes > 1 else 0):
                with m.Case("-" * (len(fold) - bit - 1) + "1" + "-" * bit):
                    m.d.comb += partner.eq(results[lane + (1 << bit)])
            with m.Default():
                m.d.comb += partner.eq(a[lane])
        left = wire(m, Mux(reduces, results[lane], a[lane]), f"{name}_left")
        right = wire(m, Mux(reduces, partner, b), f"{name}_right")
        addend = Mux(alu == Alu.SUBTRACT, negative(right), right)
        total = fp_add(m, left, addend, f"{name}_add")
        product = fp_mul(m, a[lane], b, f"{name}_mul")
        greater = fp_max(m, left, right, f"{name}_max")
        lesser = fp_min(m, left, right, f"{name}_min")
        moved = canonical(m, Mux(alu == Alu.ROTATE, rotated, a[lane]), f"{name}_moved")
        value = Signal(32, name=f"{name}_value")
        begins = reduces & self.i.payload.first & ~fold.any()
        with m.If(begins):
            m.d.comb += value.eq(moved)
        with m.Else():
            with m.Switch(alu):
                with m.Case(Alu.ADD, Alu.SUBTRACT):
                    m.d.comb += value.eq(total)
                with m.Case(Alu.MULTIPLY):
                    m.d.comb += value.eq(product)
                with m.Case(Alu.MAXIMUM):
                    m.d.comb += value.eq(greater)
                with m.Case(Alu.MINIMUM):
                    m.d.comb += value.eq(lesser)
                with m.Default():
                    m.d.comb += value.eq(moved)
        return value

    def _rotate(self, m: Module, x: list[Signal]) -> list[Signal]:
        """Lane i takes lane i + shift where that is below cols, otherwise i + wrap."""
        near = self._turn(m, x, self.settings.shift, "near")
        far = self._turn(m, x, self.settings.wrap, "far")
        stay = self.settings.stay
        return [
            wire(m, Mux(stay > lane, near[lane], far[lane]), f"rotated_{lane}")
            for lane in range(self._lanes)
        ]

    def _turn(self, m: Module, x: list[Signal], places: Value, name: str) -> list[Signal]:
        """All lanes turned down by `places`, modulo the lanes, in binary steps."""
        for bit in range(len(places)):
            turned = x[1 << bit :] + x[: 1 << bit]
            x = [
                wire(m, Mux(places[bit], there, here), f"{name}_{bit}_{lane}")
                for lane, (here, there) in enumerate(zip(x, turned, strict=True))
            ]
        return x
