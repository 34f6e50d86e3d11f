"""fp32 and bf16 arithmetic as combinational hardware, bit for bit as in `isa.numbers`.

Each function adds logic to module `m` and returns a new Signal; `name` prefixes the names of its
wires. Latency 0: whoever calls decides where the registers are. Inputs may be any bit patterns,
results are always canonical (no subnormals, one NaN).

Three facts keep the logic small:

* with subnormals flushed, every significand has its leading one at a known place or is zero;
* in an addition a term that is aligned by more than 26 places is below an eighth of the other's
  last place and cannot change the rounded sum: 26 guard bits decide everything, with no sticky bit;
* exponent and fraction lie next to each other, so that the carry of rounding steps the exponent.
"""

from typing import NamedTuple

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, ValueLike

from isa.numbers import QUIET_NAN

_INFINITY = 0x7F800000
_EXPONENT_MAX = 0xFF
_GUARD_BITS = 26
_NAN = Const(QUIET_NAN, 32)


def wire(m: Module, value: ValueLike, name: str) -> Signal:
    """A Signal of the value's own shape that carries it: for what is used more than once."""
    value = Value.cast(value)
    signal = Signal(value.shape(), name=name)
    m.d.comb += signal.eq(value)
    return signal


def split(m: Module, value: ValueLike, count: int, name: str) -> list[Signal]:
    """Equal parts of a wide value, the lowest first.

    Each slice of a wide value costs Amaranth a look at all its bits: one assignment makes them all.
    """
    value = Value.cast(value)
    parts = [Signal(len(value) // count, name=f"{name}_{index}") for index in range(count)]
    m.d.comb += Cat(*parts).eq(value)
    return parts


def pack(m: Module, exponent: Value, normal: Signal, tiny: Value, sign: Value, name: str) -> Signal:
    """Round a normalised significand to 24 bits, to nearest even, and set the exponent before it.

    normal: leading one on top; exponent: 9 bits, of the value before rounding, undefined if `tiny`.
    """
    places = len(normal) - 1
    low = places - 23
    half = normal[low] + ((1 << low - 1) - 1)
    rounded = wire(m, (Cat(normal[:places], exponent) + half)[: places + 9], f"{name}_rounded")
    huge = rounded[places:] >= _EXPONENT_MAX
    magnitude = Mux(tiny, 0, Mux(huge, _INFINITY, rounded[low : low + 31]))
    return wire(m, Cat(magnitude[:31], sign), f"{name}_finite")


def fp_add(m: Module, a: ValueLike, b: ValueLike, name: str = "add") -> Signal:
    """a + b, fp32: `numbers.add`."""
    a, b = wire(m, Value.cast(a)[:32], f"{name}_a"), wire(m, Value.cast(b)[:32], f"{name}_b")
    swap = wire(m, b[:31] > a[:31], f"{name}_swap")
    big, small = wire(m, Mux(swap, b, a), f"{name}_big"), wire(m, Mux(swap, a, b), f"{name}_small")
    exponent = big[23:31]
    distance = wire(m, (exponent - small[23:31])[:8], f"{name}_distance")
    subtract = wire(m, a[31] ^ b[31], f"{name}_subtract")
    first = Cat(Const(0, _GUARD_BITS), big[:23], Const(1, 1))  # if big is a zero, so is the sum
    lesser = Mux(small[23:31] == 0, Const(0, 24), Cat(small[:23], Const(1, 1)))
    second = wire(m, Cat(Const(0, _GUARD_BITS), lesser) >> distance, f"{name}_aligned")
    total = wire(m, Mux(subtract, first - second, first + second)[:51], f"{name}_total")
    normal, zeros = normalise(m, total, name)
    zero = wire(m, (exponent == 0) | (total == 0), f"{name}_zero")
    sign = Mux(zero, a[31] & b[31], big[31])
    tiny = zero | (exponent < zeros)
    finite = pack(m, (exponent + 1 - zeros)[:9], normal, tiny, sign, name)
    nan = (big[:23] != 0) | (subtract & (distance == 0))  # the greater of the two, or inf - inf
    special = Mux(nan, _NAN, big)
    return wire(m, Mux(exponent == _EXPONENT_MAX, special, finite), f"{name}_sum")


def normalise(m: Module, total: Signal, name: str) -> tuple[Signal, Value]:
    """Shift left until the top bit is one; returns that and the number of places.

    Up to 31 places suffice for the sum of `fp_add`: terms that are two or more binades apart lose
    at most two, and if they are closer, the lowest 25 of the 51 bits are zero.
    """
    counted = []
    for step in (16, 8, 4, 2, 1):
        if step >= len(total):
            continue
        small = wire(m, total[-step:] == 0, f"{name}_zeros_{step}")
        shifted = Cat(Const(0, step), total[:-step])
        total = wire(m, Mux(small, shifted, total), f"{name}_shifted_{step}")
        counted.insert(0, small)
    return total, wire(m, Cat(*counted), f"{name}_zeros")


def fp_sub(m: Module, a: ValueLike, b: ValueLike, name: str = "sub") -> Signal:
    """a - b, fp32: `numbers.sub`."""
    return fp_add(m, a, negative(b), name)


def negative(x: ValueLike) -> Value:
    """-x, fp32: the sign bit inverted, whatever x is."""
    x = Value.cast(x)
    return Cat(x[:31], ~x[31])


def fp_mul(m: Module, a: ValueLike, b: ValueLike, name: str = "mul") -> Signal:
    """a * b, fp32: `numbers.mul`."""
    a, b = wire(m, Value.cast(a)[:32], f"{name}_a"), wire(m, Value.cast(b)[:32], f"{name}_b")
    left, right = Cat(a[:23], Const(1, 1)), Cat(b[:23], Const(1, 1))
    product = wire(m, left * right, f"{name}_product")
    return _scale(m, a, b, product, name)


def bf16_mul(m: Module, a: ValueLike, b: ValueLike, name: str = "mul") -> Signal:
    """a * b of bf16 values as fp32: exact, then flushed: `numbers.mul` of the widened values."""
    a, b = wire(m, Value.cast(a)[:16], f"{name}_a"), wire(m, Value.cast(b)[:16], f"{name}_b")
    left, right = Cat(a[:7], Const(1, 1)), Cat(b[:7], Const(1, 1))
    product = wire(m, left * right, f"{name}_product")
    return _scale(m, a, b, product, name)


def _scale(m: Module, a: Signal, b: Signal, product: Signal, name: str) -> Signal:
    """From the product of the significands (leading one in its upper two bits) to fp32."""
    top, fraction_bits = product[-1], len(a) - 9
    exponent_a, exponent_b = a[fraction_bits:-1], b[fraction_bits:-1]
    zero_a, zero_b = exponent_a == 0, exponent_b == 0
    sign = wire(m, a[-1] ^ b[-1], f"{name}_sign")
    exponent = wire(m, (exponent_a + exponent_b + top)[:9], f"{name}_exponent")  # biased twice
    tiny = zero_a | zero_b | (exponent < 128)
    biased = (exponent - 127)[:9]
    normal = wire(m, Mux(top, product, Cat(Const(0, 1), product[:-1])), f"{name}_normal")
    if len(normal) > 24:
        finite = pack(m, biased, normal, tiny, sign, name)
    else:  # bf16: nothing to round
        exact = Cat(Const(0, 24 - len(normal)), normal[:-1], biased[:8])
        magnitude = Mux(tiny, 0, Mux(exponent >= 127 + _EXPONENT_MAX, _INFINITY, exact))
        finite = wire(m, Cat(magnitude[:31], sign), f"{name}_finite")
    infinity = _EXPONENT_MAX << fraction_bits
    nan = (a[:-1] > infinity) | (b[:-1] > infinity) | zero_a | zero_b  # the other is infinite
    special = (exponent_a == _EXPONENT_MAX) | (exponent_b == _EXPONENT_MAX)
    unbounded = Mux(nan, _NAN, Cat(Const(_INFINITY, 31), sign))
    return wire(m, Mux(special, unbounded, finite), f"{name}_value")


def canonical(m: Module, x: ValueLike, name: str = "canonical") -> Signal:
    """Subnormals to zeros of their sign, NaNs to the one: `numbers.canonical`."""
    x = Value.cast(x)[:32]
    flushed = Mux(x[23:31] == 0, Cat(Const(0, 31), x[31]), x)
    return wire(m, Mux(x[:31] > _INFINITY, _NAN, flushed), name)


def from_bf16(m: Module, x: ValueLike, name: str = "from_bf16") -> Signal:
    """bf16 (16 bits) as fp32: `numbers.from_bf16`."""
    return canonical(m, Cat(Const(0, 16), Value.cast(x)[:16]), name)


def to_bf16(m: Module, x: ValueLike, name: str = "to_bf16") -> Signal:
    """fp32 rounded to bf16 (16 bits): `numbers.to_bf16`."""
    x = wire(m, Value.cast(x)[:32], f"{name}_x")
    rounded = (x + (x[16] + Const(0x7FFF, 16)))[16:32]
    flushed = Mux(x[23:31] == 0, Cat(Const(0, 15), x[31]), rounded)
    return wire(m, Mux(x[:31] > _INFINITY, Const(QUIET_NAN >> 16, 16), flushed), name)


class Extremes(NamedTuple):
    """Of two fp32 values: b is above a in the order of `numbers.maximum`, they are the same there;
    the greater and the lesser one."""

    above: Value
    same: Value
    maximum: Signal
    minimum: Signal


def fp_extremes(m: Module, a: ValueLike, b: ValueLike, name: str = "extremes") -> Extremes:
    """`numbers.maximum` and `numbers.minimum`, by one comparison: -0 below +0, NaN above all."""
    a, b = canonical(m, a, f"{name}_a"), canonical(m, b, f"{name}_b")
    # Order of the values as unsigned integers: negative ones inverted, below the others.
    key_a, key_b = (Mux(x[31], ~x, Cat(x[:31], Const(1, 1))) for x in (a, b))
    above = wire(m, key_b > key_a, f"{name}_above")
    greatest = wire(m, Mux(above, b, a), f"{name}_max")
    nan = greatest[:31] > _INFINITY
    least = wire(m, Mux(nan, _NAN, Mux(above, a, b)), f"{name}_min")
    return Extremes(above, a == b, greatest, least)
