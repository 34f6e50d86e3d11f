"""Conversions between fp32 and the narrow types of the vector unit, bit for bit `isa.formats`.

Like `rtl.float`: each function adds combinational logic to module `m` and returns its result, and
`name` prefixes the names of its wires.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueLike

from isa.numbers import QUIET_NAN
from rtl.float import normalise, pack, wire

_INFINITY = 0x7F800000
_BIAS = 127
_NAN = Const(QUIET_NAN, 32)
# To 8 bits: the lowest 16 bits of the significand always go, up to 9 more where the value is small;
# by then not even half a unit is left.
_ALWAYS, _MOST = 16, 9


def from_fp8(m: Module, code: ValueLike, exponent_bits: int, name: str) -> Signal:
    """E4M3 (4 exponent bits: no infinities, one NaN) or E5M2 (5: as IEEE 754) as fp32: exact."""
    code = Value.cast(code)
    places = 7 - exponent_bits
    bias = (1 << exponent_bits - 1) - 1
    mantissa, exponent = code[:places], code[places:7]
    value = Const(0, 31)
    for top in range(places):  # subnormal: the leading one goes to its place
        fraction = Cat(Const(0, 23 - top), mantissa[:top])
        scale = Const(_BIAS + 1 - bias - places + top, 8)
        value = Mux(mantissa[top], Cat(fraction, scale), value)
    normal = Cat(Const(0, 23 - places), mantissa, (exponent + (_BIAS - bias))[:8])
    finite = Cat(Mux(exponent == 0, value, normal), code[7])
    if exponent_bits == 4:
        return wire(m, Mux(code[:7] == 0x7F, _NAN, finite), name)
    unbounded = Mux(mantissa == 0, Cat(Const(_INFINITY, 31), code[7]), _NAN)
    return wire(m, Mux(exponent == (1 << exponent_bits) - 1, unbounded, finite), name)


def from_integer(m: Module, x: ValueLike, name: str) -> Signal:
    """A signed integer of up to 32 bits as fp32, rounded to nearest even."""
    x = Value.cast(x).as_signed()
    size = len(x)
    sign = x[-1]
    magnitude = wire(m, Mux(sign, -x, x)[:size], f"{name}_magnitude")
    normal, zeros = normalise(m, magnitude, name)
    if size < 25:
        normal = Cat(Const(0, 25 - size), normal)
    exponent = (Const(_BIAS + size - 1, 9) - zeros)[:9]
    return pack(m, exponent, wire(m, normal, f"{name}_normal"), magnitude == 0, sign, name)


def to_byte(m: Module, x: ValueLike, integer: Value, wide: Value, name: str) -> Signal:
    """fp32 to i8 (`integer`), E5M2 (`wide`) or E4M3 (neither): `formats.quantise`.

    One shifter and one rounding serve all three: an fp8 code counts from 0 through the subnormals,
    a carry out of the mantissa steps its exponent, and only the number of places differs.
    """
    x = wire(m, Value.cast(x)[:32], f"{name}_x")
    sign, exponent = x[31], x[23:31]
    # Exponent of the least normal value (fp8), or of the greatest that is not too big (i8).
    limit = Mux(integer, _BIAS + 7, Mux(wide, _BIAS - 14, _BIAS - 6))
    above = wire(m, (exponent - limit).as_signed(), f"{name}_above")
    small = above < 0
    places = Mux(integer, 0, Mux(wide, 5, 4)) + Mux(small, -above, 0)[:8]
    places = wire(m, places, f"{name}_places")
    significand = Cat(Const(0, _MOST), x[:23], Const(1, 1))
    shifted = wire(m, significand >> places[:4], f"{name}_shifted")
    point = _ALWAYS + _MOST
    up = shifted[point - 1] & (shifted[: point - 1].any() | shifted[point])
    rounded = (shifted[point:] + up)[:9]
    steps = wire(m, Mux(places > _MOST, 0, rounded), f"{name}_steps")
    binade = Mux(small, 0, above)[:8]
    code = wire(m, Mux(wide, binade << 2, binade << 3) + steps, f"{name}_code")
    largest = Mux(wide, 0x7B, 0x7E)
    fp8 = Cat(Mux(code > largest, largest, code)[:7], sign)
    bound = Const(127, 8) + sign
    magnitude = Mux((above > 0) | (steps > bound), bound, steps)[:8]
    i8 = Mux(sign, -magnitude, magnitude)[:8]
    nan = x[:31] > _INFINITY
    return wire(m, Mux(nan, Mux(integer, 0, 0x7F), Mux(integer, i8, fp8))[:8], f"{name}_byte")
