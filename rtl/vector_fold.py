"""Fold: what the lanes hold of a row becomes one value."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.float import fp_add, fp_extremes, split, wire
from rtl.platform import place
from rtl.vector_lane import INDEX_BITS


class FoldNode(wiring.Component):
    """Two values of a row become one, and the place of the greater with it.

    Latency 1 cycle, no back-pressure: registers change with `load` only.

    Members
    -------
    load : take what comes
    adds : their sum; otherwise their maximum
    a, b, place_a, place_b : fp32 and canonical, and where in the row they lie
    o, place : sum or maximum; of equal ones, the first place
    """

    def __init__(self) -> None:
        inputs = {"load": 1, "adds": 1, "a": 32, "b": 32}
        inputs |= {"place_a": INDEX_BITS, "place_b": INDEX_BITS}
        ports = {name: In(shape) for name, shape in inputs.items()}
        super().__init__(ports | {"o": Out(32), "place": Out(INDEX_BITS)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        total = fp_add(m, self.a, self.b, "add")
        extremes = fp_extremes(m, self.a, self.b, "compared")
        earlier = extremes.same & (self.place_b < self.place_a)
        with m.If(self.load):
            m.d.sync += [
                self.o.eq(Mux(self.adds, total, extremes.maximum)),
                self.place.eq(Mux(extremes.above | earlier, self.place_b, self.place_a)),
            ]
        return m


class Fold(wiring.Component):
    """A tree of adders and comparators behind the lanes: lane i takes in lane i + s, for
    s = lanes/2 … 1.

    Latency log2(lanes) cycles, throughput a row a cycle; while `go` is low everything stands still.

    Members
    -------
    go : take a step
    adds : see `FoldNode`; must not change while rows are inside
    valid, values, places : of the lanes, side by side
    folded, o, place : a row's value has arrived; of one lane in the same cycle
    """

    def __init__(self, lanes: int):
        self._lanes = lanes
        super().__init__(
            {
                "go": In(1),
                "adds": In(1),
                "valid": In(1),
                "values": In(32 * lanes),
                "places": In(INDEX_BITS * lanes),
                "folded": Out(1),
                "o": Out(32),
                "place": Out(INDEX_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        valid: Value = self.valid
        values = split(m, self.values, self._lanes, "value")
        places = split(m, self.places, self._lanes, "place")
        while len(values) > 1:
            size = len(values) // 2
            load = wire(m, self.go & valid, f"load_{size}")
            nodes = []
            for i in range(size):
                inputs = {"load": load, "adds": self.adds}
                inputs |= {"a": values[i], "b": values[i + size]}
                inputs |= {"place_a": places[i], "place_b": places[i + size]}
                name = f"node_{size}_{i}"
                nodes.append(place(m, platform, name, "jx_vector_fold", FoldNode, inputs))
            values, places = ([node[part] for node in nodes] for part in ("o", "place"))
            following = Signal(name=f"valid_{size}")
            with m.If(self.go):
                m.d.sync += following.eq(valid)
            valid = following
        m.d.comb += [self.folded.eq(valid), self.o.eq(values[0]), self.place.eq(places[0])]
        return m
