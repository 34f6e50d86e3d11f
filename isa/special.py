"""exp2, reciprocal and reciprocal square root: quadratic interpolation in fixed point.

All three evaluate y = c0·2^18 + c1·t + (c2·t2)·2^2 in integers, where the segment's coefficients
come from a table (:func:`tables`), t is the 18-bit position inside the segment and t2 = t²
truncated to 16 bits. Bit-exact by construction; the greatest errors, measured by tests, are
stated per function.
"""

from collections.abc import Callable
from functools import cache
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from isa.numbers import F32, canonical

INDEX_BITS = 7  # segments per octave: 128
T_BITS = 18  # position inside a segment
T2_BITS = 16  # its square, truncated
FRACTION_BITS = INDEX_BITS + T_BITS  # argument of the interpolation: segment, then position
SUM_BITS = 46  # fraction bits of the interpolated value: COEFFICIENT_BITS + T_BITS
COEFFICIENT_BITS = 28  # fraction bits of the coefficients
GROUPS = ("recip", "rsqrt_even", "rsqrt_odd", "exp2")  # order of the table's groups
C0_BITS, C1_BITS, C2_BITS = 30, 24, 17  # widths: c0 unsigned, c1 and c2 two's complement

_WORK_BITS = 80  # fraction bits in which the tables are computed, exactly enough in integers
_ONE = 1 << _WORK_BITS


def _recip(u: int) -> int:
    return _ONE * _ONE // u


def _rsqrt(u: int) -> int:
    return isqrt(_ONE**3 // u)


def _exp2(u: int) -> int:
    """2^(u - 1): square roots of 2 multiplied by the bits of the fraction."""
    fraction, result, root = u - _ONE, _ONE, 2 * _ONE
    for bit in range(1, _WORK_BITS + 1):
        root = isqrt(root * _ONE)
        if fraction >> (_WORK_BITS - bit) & 1:
            result = result * root >> _WORK_BITS
    return result


# cos((2 i + 1) pi / 6) / 2 + 1/2 for i = 0, 1, 2: Chebyshev's nodes on [0, 1], in work precision.
_HALF_ROOT3 = isqrt(3 * _ONE * _ONE) // 2
_NODES = ((_ONE - _HALF_ROOT3) // 2, _ONE // 2, (_ONE + _HALF_ROOT3) // 2)


def _fit(function: Callable[[int], int], start: int, width: int) -> list[int]:
    """Quadratic through the Chebyshev nodes of [start, start + width], in t of [0, 1)."""
    y = [function(start + (width * node >> _WORK_BITS)) for node in _NODES]
    d01 = (y[1] - y[0]) * _ONE // (_NODES[1] - _NODES[0])
    d12 = (y[2] - y[1]) * _ONE // (_NODES[2] - _NODES[1])
    c2 = (d12 - d01) * _ONE // (_NODES[2] - _NODES[0])
    c1 = d01 - (c2 * (_NODES[0] + _NODES[1]) >> _WORK_BITS)
    c0 = y[0] - (c1 * _NODES[0] >> _WORK_BITS) - (c2 * (_NODES[0] ** 2 >> _WORK_BITS) >> _WORK_BITS)
    shift = _WORK_BITS - COEFFICIENT_BITS
    return [(c + (1 << shift - 1)) >> shift for c in (c0, c1, c2)]


@cache
def tables() -> NDArray[np.int64]:
    """(512, 3) coefficients c0, c1, c2 in units of 2^-28; 128 rows for each of ``GROUPS``."""
    segments = 1 << INDEX_BITS
    rows = []
    for function, octave in ((_recip, 0), (_rsqrt, 0), (_rsqrt, 1), (_exp2, 0)):
        width = (_ONE << octave) // segments
        rows += [_fit(function, (_ONE << octave) + i * width, width) for i in range(segments)]
    return np.array(rows, np.int64)


@cache
def _columns() -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The columns of `tables`, in units of 2^-46 where t and t2 are integers."""
    c0, c1, c2 = tables().T
    return c0 << T_BITS, np.ascontiguousarray(c1), c2 << T_BITS - T2_BITS


def _interpolate(group: int | NDArray[np.int64], fraction: NDArray[np.int64]) -> NDArray[np.int64]:
    """fraction: 25 bits → y in units of 2^-46."""
    c0, c1, c2 = _columns()
    row = (fraction >> T_BITS) + (group << INDEX_BITS)
    t = fraction & (1 << T_BITS) - 1
    t_squared = t * t >> (2 * T_BITS - T2_BITS)
    return c0.take(row) + c1.take(row) * t + c2.take(row) * t_squared


def _pieces(x: F32) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Sign, exponent field and fraction of canonical values."""
    bits = x.view(np.uint32).astype(np.int64)
    return bits >> 31, bits >> 23 & 0xFF, bits & 0x7FFFFF


def _within(x: NDArray[np.int64], low: int, high: int) -> bool:
    """Whether all are: the special cases need no look then."""
    return bool(x.size and np.minimum.reduce(x, None) >= low and np.maximum.reduce(x, None) <= high)


def _pack(exponent: NDArray[np.int64], significand: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Bits of significand · 2^(exponent - 150), significand in [2^23, 2^24]; 0, inf beyond."""
    exponent = exponent + (significand >> 24)  # a significand of 2^24 is the next power of two
    bits = exponent << 23 | significand & 0x7FFFFF
    if not _within(exponent, 1, 254):
        bits = np.where(exponent < 1, 0, np.where(exponent > 254, 0xFF << 23, bits))
    return bits.astype(np.uint32)


def recip(x: F32) -> F32:
    """1/x; at most 1 ulp from the exact value (0.78 measured over all significands).

    1/±0 = ±inf, 1/±inf = ±0.
    """
    x = canonical(np.asarray(x, np.float32))
    sign, exponent, fraction = _pieces(x)
    significand = (_interpolate(0, fraction << 2) + (1 << 21)) >> 22  # y in (0.5, 1]
    bits = _pack(253 - exponent, significand) | (sign << 31).astype(np.uint32)
    result = np.asarray(bits).view(np.float32)
    if _within(exponent, 1, 254):
        return result
    result = np.where(exponent == 0, np.copysign(np.float32(np.inf), x), result)
    result = np.where(exponent == 255, np.copysign(np.float32(0), x), result)
    return canonical(np.where(np.isnan(x), np.float32(np.nan), result))


def rsqrt(x: F32) -> F32:
    """1/sqrt(x); at most 1 ulp from the exact value (0.61 measured over all significands).

    ±0 → ±inf, +inf → +0, x < 0 → NaN.
    """
    x = canonical(np.asarray(x, np.float32))
    sign, exponent, fraction = _pieces(x)
    odd = exponent + 1 & 1  # of the unbiased exponent, e = exponent - 127
    significand = (_interpolate(odd + 1, fraction << 2) + (1 << 21)) >> 22  # y in (0.5, 1]
    half = (exponent - 127 - odd) >> 1
    result = np.asarray(_pack(126 - half, significand)).view(np.float32)
    if _within(exponent, 1, 254) and _within(sign, 0, 0):
        return result
    result = np.where(exponent == 255, np.float32(0), result)
    result = np.where(sign == 1, np.float32(np.nan), result)
    result = np.where(exponent == 0, np.copysign(np.float32(np.inf), x), result)
    return canonical(np.where(np.isnan(x), np.float32(np.nan), result))


def exp2(x: F32) -> F32:
    """2^x; at most 1 ulp from the exact value (0.71 measured, dense grid).

    0 below -126, inf from 128. x is first rounded to a multiple of 2^-25 (half away from zero).
    """
    x = canonical(np.asarray(x, np.float32))
    fixed = _fixed_point(x)
    significand = (_interpolate(3, fixed & (1 << FRACTION_BITS) - 1) + (1 << 22)) >> 23
    bits = _pack(127 + (fixed >> FRACTION_BITS), significand)  # significand: y in [1, 2]
    result = np.asarray(bits).view(np.float32)
    return canonical(np.where(np.isnan(x), np.float32(np.nan), result))


def _fixed_point(x: F32) -> NDArray[np.int64]:
    """x in units of 2^-25, half away from zero; beyond ±256 (and for NaN) ±2^33."""
    with np.errstate(all="ignore"):
        # Exact in float64: at most 24 significant bits, scaled and with one half added.
        magnitude = np.floor(np.abs(x).astype(np.float64) * (1 << FRACTION_BITS) + 0.5)
        magnitude = np.where(magnitude < 1 << 33, magnitude, float(1 << 33))
        return np.copysign(magnitude, x).astype(np.int64)
