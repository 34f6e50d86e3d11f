"""Special functions, made of `arithmetic`; relative errors below 10^-5 if nothing is said."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from compiler.numerics import LOG2_E
from compiler.static.arithmetic import (
    absolute,
    add,
    clamp,
    equal,
    floor,
    greater,
    invert,
    is_number,
    maximum,
    minimum,
    mul,
    round_even,
    select,
    sign,
    sub,
    truncate,
)
from compiler.static.machine import Block, Machine

# erf(x) = 1 - t (a1 + t (a2 + …)) exp(-x²), t = 1 / (1 + p x), for x ≥ 0, to 1.5e-7: Abramowitz and
# Stegun, Handbook of Mathematical Functions (1964), 7.1.26.
_ERF_P = 0.3275911
_ERF_TAIL = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)
_ERF_SERIES = tuple(
    2 / math.sqrt(math.pi) * (-1) ** n / (math.factorial(n) * (2 * n + 1)) for n in range(7)
)
_TANH_SERIES = (1.0, -1 / 3, 2 / 15, -17 / 315, 62 / 2835)
_LOG_SERIES = tuple(2 / (2 * n + 1) for n in range(6))  # of (m - 1) / (m + 1)
_SINE = tuple((-1) ** n / math.factorial(2 * n + 1) for n in range(5))
_COSINE = tuple((-1) ** n / math.factorial(2 * n) for n in range(6))
_HALF_PI = (1.5703125, 4.837512969970703125e-4, 7.549789954891882e-8)
LARGEST_ANGLE = 8192.0
_LN2 = math.log(2)
_LN2_HIGH = float(np.float32(0.693359375))  # few bits: its multiples below 2^10 are exact
_INFINITY = math.inf


def polynomial(v: Machine, x: Block, coefficients: Sequence[float]) -> Block:
    """c0 + c1 x + …; at least two of them."""
    *rest, before, last = coefficients
    result = add(v, mul(v, x, last), before)
    for c in reversed(rest):
        result = add(v, mul(v, result, x), c)
    return result


def exp(v: Machine, x: Block) -> Block:
    return v.unary("vexp2", mul(v, x, LOG2_E))


def sigmoid(v: Machine, x: Block) -> Block:
    return v.unary("vrecip", add(v, exp(v, mul(v, x, -1.0)), 1.0))


def tanh(v: Machine, x: Block) -> Block:
    """1 - 2 / (e^2x + 1); near 0 a series."""
    far = sub(v, 1.0, mul(v, v.unary("vrecip", add(v, exp(v, mul(v, x, 2.0)), 1.0)), 2.0))
    near = clamp(v, x, -0.25, 0.25)
    series = mul(v, near, polynomial(v, mul(v, near, near), _TANH_SERIES))
    return select(v, equal(v, x, near), series, far)


def erf(v: Machine, x: Block) -> Block:
    size = minimum(v, absolute(v, x), 8.0)  # erf is ±1 in fp32 from 4 on; squares stay finite
    t = v.unary("vrecip", add(v, mul(v, size, _ERF_P), 1.0))
    tail = mul(v, polynomial(v, t, (0.0, *_ERF_TAIL)), exp(v, mul(v, mul(v, size, size), -1.0)))
    far = mul(v, sub(v, 1.0, tail), sign(v, x))
    near = clamp(v, x, -0.5, 0.5)
    series = mul(v, near, polynomial(v, mul(v, near, near), _ERF_SERIES))
    result = select(v, equal(v, x, near), series, far)
    return select(v, is_number(v, x), result, math.nan)


def split_exponent(v: Machine, x: Block) -> tuple[Block, Block]:
    """x > 0 as (e, m): x = m 2^e, 1 <= m < 2. Bytes of fp32, the lowest first: mantissa, mantissa,
    the exponent's last bit and the mantissa's top, sign and exponent."""
    line = v.config.line_bytes

    def pattern(*four: float) -> Block:
        return v.pattern(np.tile(four, line // 4))

    stored = v.as_bytes(x)
    # The mantissa, with the exponent of 1: 0x3F, and the last bit set.
    bit_clear = clamp(v, v.binary("vadd", stored, 1.0), 0.0, 1.0)
    low = v.binary("vmul", stored, pattern(1, 1, 1, 0))
    low = v.binary("vadd", low, v.binary("vmul", bit_clear, pattern(0, 0, -128, 0)))
    mantissa = v.from_bytes(v.binary("vadd", low, pattern(0, 0, 0, 0x3F), "i8"), x)
    # The upper two bytes in place of the lower two, below 2^23: 2^23 + exponent 2^7.
    kept = v.binary("vmul", stored, pattern(0, 0, 128, 1))
    kept = v.binary("vmin", kept, pattern(0, 0, 0, 127))
    kept = v.binary("vmax", kept, pattern(0, 0, -128, 0), "i8")
    turned = v.as_bytes(v.rotate(_in_rows(kept, v.config.lanes), 2))
    top = np.frombuffer(np.float32(2.0**23).tobytes(), np.int8).astype(np.float32)
    clean = v.binary("vmul", turned, pattern(1, 1, 0, 0), "i8")
    raised = v.binary("vadd", clean, pattern(*top), "i8")
    packed = sub(v, v.from_bytes(raised, x), 2.0**23)
    return sub(v, mul(v, packed, 2.0**-7), 127.0), mantissa


def _in_rows(a: Block, cols: int) -> Block:
    """Bytes, in rows of ``cols`` without gaps."""
    return Block(a.buffer, a.buffer.size // cols, cols, cols, a.kind)


def log(v: Machine, x: Block) -> Block:
    """Natural logarithm: of m in [√½, √2] by a series, and e ln 2. -inf of 0."""
    e, m = split_exponent(v, x)
    large = greater(v, m, math.sqrt(2))
    m = mul(v, m, sub(v, 1.0, mul(v, large, 0.5)))
    e = add(v, e, large)
    t = mul(v, sub(v, m, 1.0), v.unary("vrecip", add(v, m, 1.0)))
    series = mul(v, t, polynomial(v, mul(v, t, t), _LOG_SERIES))
    rest = add(v, series, mul(v, e, _LN2 - _LN2_HIGH))
    result = add(v, mul(v, e, _LN2_HIGH), rest)
    result = select(v, greater(v, x, float(np.finfo(np.float32).max)), _INFINITY, result)
    result = select(v, greater(v, x, 0.0), result, math.nan)
    return select(v, equal(v, x, 0.0), -_INFINITY, result)


def power(v: Machine, a: Block, b: Block) -> Block:
    """a^b. Relative error: 10^-6 times 1 + |log2 of the result|. Of negative a only integer b."""
    size = absolute(v, a)
    exponent = mul(v, mul(v, log(v, size), b), LOG2_E)
    result = v.unary("vexp2", exponent)
    whole = equal(v, truncate(v, b), b)
    half = mul(v, b, 0.5)
    odd = mul(v, whole, invert(v, equal(v, truncate(v, half), half)))
    negative = greater(v, 0.0, a)
    flip = sub(v, 1.0, mul(v, mul(v, negative, odd), 2.0))
    result = mul(v, result, flip)
    result = select(v, mul(v, negative, invert(v, whole)), math.nan, result)
    ones = maximum(v, equal(v, b, 0.0), equal(v, a, 1.0))  # whatever the other is, also NaN
    return select(v, ones, 1.0, result)


def integer_power(v: Machine, a: Block, exponent: int) -> Block:
    """a^exponent, by products; exponent at least 1."""
    result, square = None, a
    while True:
        if exponent & 1:
            result = square if result is None else mul(v, result, square)
        exponent >>= 1
        if not exponent:
            assert result is not None
            return result
        square = mul(v, square, square)


@dataclass(frozen=True)
class Narrow:
    """A floating-point format: bits behind the point, the smallest normal and the largest number,
    and what is made of larger ones where they are not to become the largest."""

    fraction_bits: int
    smallest: float
    largest: float
    beyond: float


def to_narrow(v: Machine, x: Block, form: Narrow, saturate: bool) -> Block:
    """Rounded to nearest, ties to even, subnormal numbers too; NaN stays NaN."""
    size = absolute(v, x)
    # The sum with 1.5 · 2^d of the number's own power of two leaves 23 - d bits behind the point.
    e, _ = split_exponent(v, maximum(v, size, form.smallest))
    dropped = 23 - form.fraction_bits
    shift = mul(v, v.unary("vexp2", minimum(v, e, 100.0)), 1.5 * 2.0**dropped)
    rounded = sub(v, add(v, minimum(v, size, 2.0**100), shift), shift)
    if saturate:
        rounded = minimum(v, rounded, form.largest)
    else:
        rounded = select(v, greater(v, rounded, form.largest), form.beyond, rounded)
    rounded = mul(v, rounded, sub(v, mul(v, maximum(v, sign(v, x), 0.0), 2.0), 1.0))
    return select(v, is_number(v, x), rounded, math.nan)


def sine(v: Machine, x: Block, turns: float = 0.0) -> Block:
    """sin(x + turns · π/2), within 10^-6, of |x| up to `LARGEST_ANGLE`: x less the nearest multiple
    of π/2, which is subtracted in three parts whose multiples are exact."""
    k = round_even(v, mul(v, x, 2 / math.pi))
    rest = x
    for part in _HALF_PI:
        rest = sub(v, rest, mul(v, k, part))
    square = mul(v, rest, rest)
    odd_series = mul(v, rest, polynomial(v, square, _SINE))
    even_series = polynomial(v, square, _COSINE)
    k = add(v, k, turns)
    quarter = sub(v, k, mul(v, floor(v, mul(v, k, 0.25)), 4.0))
    second = floor(v, mul(v, quarter, 0.5))
    odd = sub(v, quarter, mul(v, second, 2.0))
    result = select(v, odd, even_series, odd_series)
    return mul(v, result, sub(v, 1.0, mul(v, second, 2.0)))


def softplus(v: Machine, x: Block) -> Block:
    """max(x, 0) + log(1 + e^-|x|)."""
    small = exp(v, mul(v, absolute(v, x), -1.0))
    return add(v, maximum(v, x, 0.0), log_one_plus(v, small))


def log_one_plus(v: Machine, x: Block) -> Block:
    """log(1 + x), 0 <= x <= 1: 2 artanh(x / (x + 2)), whose argument is at most 1/3."""
    t = mul(v, x, v.unary("vrecip", add(v, x, 2.0)))
    series = tuple(2 / (2 * n + 1) for n in range(9))
    return mul(v, t, polynomial(v, mul(v, t, t), series))
