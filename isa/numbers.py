"""Arithmetic of the chip, each operation defined once, bit-exactly, on NumPy arrays.

fp32 is IEEE 754 binary32, rounded to nearest even, with three simplifications that hardware makes:

* subnormal inputs count as zeros of their sign;
* a result whose magnitude before rounding is below 2^-126 is a zero of its sign;
* every NaN result is the one quiet NaN 0x7FC00000.

bf16 is the upper half of an fp32 value, with the same rules. Arrays of fp32 have dtype float32
(values), arrays of bf16 dtype uint16 (bit patterns). Special functions are in :mod:`isa.special`.

The simulator lives on these functions, so each looks first whether a subnormal or a NaN is there at
all: NumPy's arithmetic alone is right where there is none. A result may be its argument itself.
"""

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
BF16 = NDArray[np.uint16]

QUIET_NAN = 0x7FC00000
MIN_NORMAL = np.float32(2.0**-126)
_EXPONENT_BIAS = 127
# `_least` of the smallest normal number. Below it are the subnormals.
_LEAST_NORMAL = 2 * 0x00800000 - 2
# Sums and products of bf16 values are multiples of 2^(ea + ew - 14), the last bit of a bf16 value
# of exponent e being 2^(e - 7): from this sum of exponents on, none of them can be subnormal.
_SAFE_EXPONENT_SUM = -126 + 14
_SAFE_EXPONENT = -126 + 23  # likewise of fp32 values
_BLOCK_ELEMENTS = 1 << 16  # of intermediate results, so that they stay in the processor's cache


def _least(bits: NDArray[np.uint32] | NDArray[np.uint16]) -> int:
    """Twice the least non-zero magnitude in `bits`, minus 2; huge if all are zero.

    Doubling drops the sign, and subtracting wraps the zeros around to the top.
    """
    if not bits.size:
        return 1 << 32
    doubled = bits + bits
    doubled -= bits.dtype.type(2)
    return int(np.minimum.reduce(doubled, axis=None))


def _flushed(x: F32) -> F32:
    """Subnormals to zeros of their sign; NaNs stay whatever they are."""
    if x.ndim and _least(x.view(np.uint32)) >= _LEAST_NORMAL:
        return x
    bits = x.view(np.uint32)
    subnormal = (bits & np.uint32(0x7FFFFFFF)) < np.uint32(0x00800000)
    return np.where(subnormal, bits & np.uint32(0x80000000), bits).view(np.float32)


def canonical(x: F32) -> F32:
    """Subnormals to signed zeros, all NaNs to the quiet one: what a unit makes of its inputs."""
    x = _flushed(np.asarray(x, np.float32))
    if not x.size or not np.isnan(np.maximum.reduce(x, axis=None)):
        return x
    return np.where(np.isnan(x), np.uint32(QUIET_NAN).view(np.float32), x)


def add(a: F32, b: F32) -> F32:
    """a + b. Sums are exact where they are subnormal, so flushing after rounding is right."""
    with np.errstate(all="ignore"):
        return canonical(_flushed(np.asarray(a)) + _flushed(np.asarray(b)))


def sub(a: F32, b: F32) -> F32:
    """a - b, defined as a + (-b)."""
    with np.errstate(all="ignore"):
        return canonical(_flushed(np.asarray(a)) - _flushed(np.asarray(b)))


def mul(a: F32, b: F32) -> F32:
    """a * b. The product of two fp32 values is exact in float64, which decides the flush.

    It needs not be asked where all non-zero fp32 products are above 2^-126: rounding has not lifted
    one to it, and a product that became zero counts as zero anyway.
    """
    with np.errstate(all="ignore"):
        a, b = _flushed(np.asarray(a)), _flushed(np.asarray(b))
        product = np.asarray(a * b)
        if product.ndim and _least(product.view(np.uint32)) > _LEAST_NORMAL:
            return canonical(product)
        exact = a.astype(np.float64) * b.astype(np.float64)
        tiny = np.abs(exact) < 2.0**-126
        return canonical(np.where(tiny, np.copysign(0.0, exact), exact).astype(np.float32))


def maximum(a: F32, b: F32) -> F32:
    """max(a, b); NaN if either is; +0 counts as greater than -0."""
    return _from_order(np.maximum(_in_order(canonical(a)), _in_order(canonical(b))))


def minimum(a: F32, b: F32) -> F32:
    """min(a, b); NaN if either is; -0 counts as less than +0."""
    a, b = canonical(a), canonical(b)
    result = _from_order(np.minimum(_in_order(a), _in_order(b)))
    return np.where(np.isnan(a) | np.isnan(b), np.uint32(QUIET_NAN).view(np.float32), result)


def _in_order(x: F32) -> NDArray[np.int32]:
    """Integers in the order of the canonical values: -0 just below +0, NaN above all."""
    bits = x.view(np.int32)
    return bits ^ ((bits >> np.int32(31)) & np.int32(0x7FFFFFFF))


def _from_order(x: NDArray[np.int32]) -> F32:
    """Inverse of `_in_order`, which is its own."""
    return _in_order(np.asarray(x).view(np.float32)).view(np.float32)


def to_bf16(x: F32) -> BF16:
    """Round fp32 to the nearest bf16, ties to even; overflow gives infinity, NaN 0x7FC0."""
    bits = canonical(x).view(np.uint32)
    last = bits >> np.uint32(16) & np.uint32(1)
    return ((bits + np.uint32(0x7FFF) + last) >> np.uint32(16)).astype(np.uint16)


def widen(x: BF16) -> F32:
    """bf16 bit patterns as fp32 values, not canonical: for operations that make them so."""
    return (np.asarray(x, np.uint16).astype(np.uint32) << np.uint32(16)).view(np.float32)


def from_bf16(x: BF16) -> F32:
    """bf16 bit patterns as fp32 values: exact, subnormals flushed."""
    return canonical(widen(x))


def matmul(a: F32, w: F32, rows: int, previous: F32 | None = None) -> F32:
    """The array's product: a: (M, K), w: (K, N), values of bf16 → (M, N) fp32.

    Order of additions: K is cut into tiles of ``rows`` (the array's R), the last one filled up with
    zeros. In a tile, psum starts as the product of row 0, then row 1, 2, … are added one by one
    (the systolic column). Tiles are added to the accumulator in ascending order; the first one
    overwrites it unless ``previous`` (M, N) holds what is accumulated to. Products of bf16 values
    are exact.
    """
    return matmul_bf16(_upper_half(a), _upper_half(w), rows, previous)


def _upper_half(x: F32) -> BF16:
    return (np.asarray(x, np.float32).view(np.uint32) >> np.uint32(16)).astype(np.uint16)


def matmul_bf16(a: BF16, w: BF16, rows: int, previous: F32 | None = None) -> F32:
    """`matmul` of bit patterns."""
    least_a, least_w = _least_exponent(a), _least_exponent(w)
    flush = least_a + least_w < _SAFE_EXPONENT_SUM or (
        previous is not None and _least(previous.view(np.uint32)) < (_SAFE_EXPONENT + 127 << 24) - 2
    )
    tiles = -(-a.shape[1] // rows)
    a, w = _filled(a, a.shape[0], tiles * rows), _filled(w, tiles * rows, w.shape[1])
    a_values = from_bf16(a) if least_a < -126 else widen(a)
    w_values = from_bf16(w) if least_w < -126 else widen(w)
    a_tiles = a_values.reshape(a.shape[0], tiles, rows).transpose(1, 2, 0)[..., None]
    w_tiles = w_values.reshape(tiles, rows, 1, w.shape[1])
    block = max(1, _BLOCK_ELEMENTS // (a.shape[0] * w.shape[1]))
    with np.errstate(all="ignore"):
        total = None if previous is None else _flushed(previous)
        for first in range(0, tiles, block):
            last = first + block
            for psum in _column_sums(a_tiles[first:last], w_tiles[first:last], flush):
                total = psum if total is None else total + psum
                if flush:
                    total = _flushed(total)
    assert total is not None
    return canonical(total)


def matmul_int8(
    a: NDArray[np.int8], w: NDArray[np.int8], previous: NDArray[np.int32] | None = None
) -> NDArray[np.int32]:
    """An int8 array's product: a: (M, K), w: (K, N) → (M, N) int32, modulo 2^32, in any order.

    float64 holds the sums of 2^16 products (below 2^30) exactly and is faster than integers.
    """
    product = (a.astype(np.float64) @ w.astype(np.float64)).astype(np.int64)
    total = product if previous is None else product + previous
    return total.astype(np.int32)


def from_int32(x: NDArray[np.int32]) -> F32:
    """Accumulators of an int8 array as the vector unit reads them: rounded to nearest even."""
    return x.astype(np.float32)


def _filled(x: NDArray, rows: int, cols: int) -> NDArray:
    """x with zeros behind its rows and columns."""
    if x.shape == (rows, cols):
        return x
    filled = np.zeros((rows, cols), x.dtype)
    filled[: x.shape[0], : x.shape[1]] = x
    return filled


def _least_exponent(x: BF16) -> int:
    """Of the non-zero values; below that of normal values if there are subnormals."""
    return (_least(x) + 2 >> 8) - _EXPONENT_BIAS


def _column_sums(a: F32, w: F32, flush: bool) -> F32:
    """What leaves the array: a: (tiles, R, M, 1), w: (tiles, R, 1, N) → (tiles, M, N)."""
    psum = a[:, 0] * w[:, 0]
    product = np.empty_like(psum)
    if flush:
        psum = _flushed(psum)
    for row in range(1, a.shape[1]):
        np.multiply(a[:, row], w[:, row], out=product)
        psum = _flushed(psum + _flushed(product)) if flush else np.add(psum, product, out=psum)
    return psum


def row_sum(x: F32, lanes: int) -> F32:
    """Sum of each row: x: (rows, cols) → (rows,).

    Order: the row is filled up with +0 to whole vectors of ``lanes``; each lane adds its elements
    from vector to vector, starting from the first vector's; then lane i adds lane i + s for
    s = lanes/2, lanes/4, …, 1.
    """
    x = _flushed(np.asarray(x, np.float32))
    x = _filled(x, x.shape[0], -(-x.shape[1] // lanes) * lanes)
    flush = _least(x.view(np.uint32)) < (_SAFE_EXPONENT + _EXPONENT_BIAS << 24) - 2
    with np.errstate(all="ignore"):
        total = x[:, :lanes]
        for start in range(lanes, x.shape[1], lanes):
            total = total + x[:, start : start + lanes]
            if flush:
                total = _flushed(total)
        step = lanes // 2
        while step:
            total = total[:, :step] + total[:, step : 2 * step]
            if flush:
                total = _flushed(total)
            step //= 2
    return canonical(total[:, 0])


def row_max(x: F32, lanes: int) -> F32:
    """Maximum of each row: x: (rows, cols) → (rows,), in any order; NaN if a row holds one."""
    return _from_order(np.maximum.reduce(_in_order(canonical(x)), axis=1))


def row_argmax(x: F32) -> NDArray[np.uint32]:
    """Index of each row's first maximum: x: (rows, cols) → (rows,).

    -0 equals +0; a NaN is above all values. (NumPy's argmax has just these rules.)
    """
    return np.argmax(canonical(x), axis=1).astype(np.uint32)
