"""Special functions of the vector unit: exp2, reciprocal, reciprocal square root.

Bit for bit `isa.special`: a quadratic in fixed point whose coefficients come from a ROM that is
filled from `isa.special.tables()`.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import enum, memory, wiring
from amaranth.lib.wiring import In, Out

from isa import special
from isa.numbers import QUIET_NAN
from isa.special import C0_BITS, C1_BITS, C2_BITS, FRACTION_BITS, GROUPS, T2_BITS, T_BITS
from rtl.float import wire
from rtl.platform import place
from rtl.timing import SPECIAL_CYCLES

_SHIFT_MAX = 134  # biased exponent of exp2's greatest argument, 2^7 and more is out of range
_EXP2_SCALE = 35  # exp2 sees its argument in 2^-25, shifted right by up to so many places
_INFINITY = 0x7F800000
_ROUND = 1 << special.SUM_BITS - 25  # half a unit of the significand's last place


class Function(enum.Enum, shape=2):
    """What a lane computes."""

    RECIP = 0
    RSQRT = 1
    EXP2 = 2


class Override(enum.Enum, shape=2):
    """A result that no polynomial gives; zero and infinity have the lane's sign."""

    NONE = 0
    ZERO = 1
    INFINITY = 2
    NAN = 3


class SpecialFunctions(wiring.Component):
    """`lanes` values at once: y = function(x), as `isa.special` defines it.

    Latency 3 cycles in which `go` is 1, throughput one set of values a cycle; with `go` = 0 nothing
    moves. `function` must not change while values are inside.

    Members
    -------
    go : advance by one stage
    function : see `Function`
    x, y : fp32 patterns, one for each lane (x of any pattern, y canonical)
    """

    latency = SPECIAL_CYCLES

    def __init__(self, lanes: int):
        if lanes < 1:
            raise ValueError(f"special functions need at least 1 lane, not {lanes!r}")
        self._lanes = lanes
        super().__init__(
            {
                "go": In(1),
                "function": In(Function),
                "x": In(32).array(lanes),
                "y": Out(32).array(lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shared = {"go": self.go, "function": self.function}
        for lane, (x, y) in enumerate(zip(self.x, self.y, strict=True)):
            inputs = shared | {"x": x}
            outputs = place(m, platform, f"lane_{lane}", "jx_special", SpecialLane, inputs)
            m.d.comb += y.eq(outputs["y"])
        return m


class SpecialLane(wiring.Component):
    """y = function(x), as `SpecialFunctions` has it for each lane."""

    go: In(1)
    function: In(Function)
    x: In(32)
    y: Out(32)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows = [[int(c) for c in row] for row in special.tables()]
        slopes = [c1 % (1 << C1_BITS) | c2 % (1 << C2_BITS) << C1_BITS for _, c1, c2 in rows]
        m.submodules.offsets = offsets = memory.Memory(
            shape=unsigned(C0_BITS), depth=len(rows), init=[c0 for c0, _, _ in rows]
        )
        m.submodules.slopes = slopes = memory.Memory(
            shape=unsigned(C1_BITS + C2_BITS), depth=len(rows), init=slopes
        )
        offset, slope = offsets.read_port(), slopes.read_port()
        x = self.x
        index, fraction, exponent, override = self._decode(m, x)
        # Stage 1: where in the table, and everything that goes around it.
        row = Signal(len(index))
        t = Signal(T_BITS)
        sign = self._delay(m, x[31] & (self.function != Function.EXP2), 3, "sign")
        exponent = self._delay(m, exponent, 3, "exponent")
        override = self._delay(m, override, 3, "override")
        # Stage 2: coefficients and the square of the position.
        squared = wire(m, t * t, "squared")
        t1, t2 = Signal(T_BITS), Signal(T2_BITS)
        for port in (offset, slope):
            m.d.comb += [port.addr.eq(row), port.en.eq(self.go)]
        # Stage 3: the polynomial, rounded.
        c1, c2 = slope.data[:C1_BITS].as_signed(), slope.data[C1_BITS:].as_signed()
        linear = wire(m, c1 * t1, "linear")
        quadratic = wire(m, c2 * t2, "quadratic")
        total = wire(
            m,
            (Cat(Const(0, T_BITS), offset.data) + linear + Cat(Const(0, 2), quadratic).as_signed())[
                : special.SUM_BITS + 2
            ],
            "total",
        )
        halved = Mux(self.function == Function.EXP2, total[1:], total)  # y in [1, 2], not (0.5, 1]
        significand = Signal(25)
        with m.If(self.go):
            m.d.sync += [
                row.eq(index),
                t.eq(fraction),
                t1.eq(t),
                t2.eq(squared[2 * T_BITS - T2_BITS :]),
                significand.eq((halved + _ROUND)[special.SUM_BITS - 24 :]),
            ]
        m.d.comb += self.y.eq(_pack(m, sign, exponent, significand, override))
        return m

    def _delay(self, m: Module, value: Value, stages: int, name: str) -> Signal:
        value = Value.cast(value)
        for stage in range(1, stages + 1):
            later = Signal(value.shape(), name=f"{name}_{stage}")
            with m.If(self.go):
                m.d.sync += later.eq(value)
            value = later
        return value

    def _decode(self, m: Module, x: Signal) -> tuple[Signal, Signal, Signal, Signal]:
        """Row of the table, position in the segment, biased exponent, override."""
        exponent, fraction = x[23:31], x[:23]
        fixed = _fixed_point(m, x)
        segment = Signal(special.INDEX_BITS)
        group = Signal(range(len(GROUPS)))
        position = Signal(T_BITS)
        scale = Signal(signed(11))
        override = Signal(Override)
        is_exp2 = wire(m, self.function == Function.EXP2, "is_exp2")
        zero = wire(m, exponent == 0, "zero")
        nan = wire(m, x[:31] > _INFINITY, "nan")
        infinite = wire(m, x[:31] == _INFINITY, "infinite")
        with m.Switch(self.function):
            with m.Case(Function.RECIP):
                m.d.comb += [group.eq(GROUPS.index("recip")), scale.eq(253 - exponent)]
            with m.Case(Function.RSQRT):
                even, odd = GROUPS.index("rsqrt_even"), GROUPS.index("rsqrt_odd")
                m.d.comb += [
                    group.eq(Mux(exponent[0], even, odd)),  # parity without the bias of 127
                    scale.eq(190 - exponent[1:] - exponent[0]),
                ]
            with m.Default():
                m.d.comb += [
                    group.eq(GROUPS.index("exp2")),
                    scale.eq(fixed[FRACTION_BITS:].as_signed() + 127),
                ]
        negative = (self.function == Function.RSQRT) & x[31] & ~zero
        # One expression: Icarus 11 hangs where a default is overwritten in the same always_comb.
        of_size = Mux(zero, Override.INFINITY.value, Mux(infinite, Override.ZERO.value, 0))
        m.d.comb += [
            override.eq(Mux(nan | negative, Override.NAN.value, Mux(is_exp2, 0, of_size))),
            Cat(position, segment).eq(
                Mux(is_exp2, fixed[:FRACTION_BITS], Cat(Const(0, 2), fraction))
            ),
        ]
        return Cat(segment, group), position, scale, override


def _fixed_point(m: Module, x: Signal) -> Signal:
    """exp2's argument in units of 2^-25, rounded half away from zero; ±2^33 where out of range."""
    exponent = x[23:31]
    significand = Cat(Const(0, 10), x[:23], Const(1, 1))  # one place more than the result, to round
    places = wire(m, (_SHIFT_MAX - exponent)[:6], "places")
    shifted = wire(m, significand >> places, "shifted")
    small = exponent < _SHIFT_MAX - _EXP2_SCALE
    rounded = (shifted[1:] + shifted[0])[:34]
    magnitude = wire(
        m,
        Mux(small, 0, Mux(exponent > _SHIFT_MAX, Const(1 << 33, 34), rounded)),
        "magnitude",
    )
    return wire(m, Mux(x[31], -magnitude, magnitude)[:35], "fixed")


def _pack(m: Module, sign: Value, exponent: Value, significand: Signal, override: Value) -> Value:
    """The fp32 value of significand · 2^(exponent - 127 - 23), or what `override` says."""
    stepped = wire(m, exponent.as_signed() + significand[24], "stepped")
    finite = Cat(significand[:23], stepped[:8])
    bounded = Mux(stepped < 1, 0, Mux(stepped > 254, _INFINITY, finite))
    infinite = override == Override.INFINITY.value
    magnitude = Mux(override == Override.NONE.value, bounded, Mux(infinite, _INFINITY, 0))
    return Mux(override == Override.NAN.value, Const(QUIET_NAN, 32), Cat(magnitude[:31], sign))
