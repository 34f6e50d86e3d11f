"""SourceLane: one lane's elements of both sources, as fp32 values."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.convert import from_fp8, from_integer
from rtl.vector_settings import Kind


class SourceLane(wiring.Component):
    """Converts a lane's elements to fp32, masks that of a, replaces that of b by a scalar.

    Latency 1 cycle, no back-pressure: registers change with `load` only. Values are as stored:
    subnormals and NaNs are not canonical yet.

    Members
    -------
    load : take new elements
    kind_a, kind_b : types of the elements
    word_a, half_a, byte_a, word_b, half_b : the lane's part of a vector of 32, 16 or 8-bit elements
    scalar, value : b is `value`; it is a too where `masked`
    masked : the element of a is not wanted
    padding, fill : no element of a is there, `fill` takes its place
    a, b : fp32
    """

    def __init__(self, integers: bool):
        """``integers``: the accumulators hold int32."""
        self._integers = integers
        members = {"load": 1, "kind_a": Kind, "word_a": 32, "half_a": 16, "byte_a": 8}
        members |= {"kind_b": Kind, "word_b": 32, "half_b": 16, "scalar": 1, "value": 32}
        members |= {"masked": 1, "padding": 1, "fill": 32}
        super().__init__(
            {name: In(shape) for name, shape in members.items()} | {"a": Out(32), "b": Out(32)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        a, b = Signal(32), Signal(32)
        m.d.comb += [
            a.eq(Mux(self.masked, self.value, self._first(m))),
            b.eq(Mux(self.kind_b == Kind.BF16, _widened(self.half_b), self.word_b)),
        ]
        with m.If(self.load):
            m.d.sync += [
                self.a.eq(Mux(self.padding, self.fill, a)),
                self.b.eq(Mux(self.scalar, self.value, b)),
            ]
        return m

    def _first(self, m: Module) -> Value:
        """The element of a."""
        kind = self.kind_a
        integer: Value = self.byte_a.as_signed()
        is_integer = kind == Kind.I8
        if self._integers:
            is_integer = is_integer | (kind == Kind.ACC)
            integer = Mux(kind == Kind.ACC, self.word_a.as_signed(), integer)
        return Mux(
            is_integer,
            from_integer(m, integer, "integer"),
            Mux(
                kind == Kind.E4M3,
                from_fp8(m, self.byte_a, 4, "e4m3"),
                Mux(
                    kind == Kind.E5M2,
                    from_fp8(m, self.byte_a, 5, "e5m2"),
                    Mux(kind == Kind.BF16, _widened(self.half_a), self.word_a),
                ),
            ),
        )


def _widened(half: Value) -> Value:
    """bf16 as fp32."""
    return Cat(Const(0, 16), half)
