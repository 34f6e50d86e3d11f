"""isa.numbers against exact rational arithmetic, ml_dtypes and NumPy."""

import math
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from isa import numbers
from tests.support import rng

SPECIAL = np.array(
    [0, 1, 0x7FFFFF, 0x800000, 0x800001, 0xFFFFFF, 0x1000000, 0x3F800000, 0x3F800001, 0x4B800001]
    + [0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0x33800000, 0x00FFFFFE],
    np.uint32,
)
ALL_SPECIAL = np.concatenate([SPECIAL, SPECIAL | np.uint32(1 << 31)]).view(np.float32)
LEAST = Fraction(1, 1 << 126)


def bits(x) -> list[int]:
    return np.asarray(x).view(np.uint16 if np.asarray(x).itemsize == 2 else np.uint32).tolist()


def rounded(exact: Fraction, zero: float) -> float:
    """Exact value to fp32: tiny before rounding is a zero; an exact 0 has the sign of `zero`."""
    if exact == 0:
        return math.copysign(0.0, zero)
    if abs(exact) < LEAST:
        return math.copysign(0.0, exact)
    exponent = max(-126, math.floor(math.log2(abs(exact))))
    while abs(exact) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    while abs(exact) < Fraction(2) ** exponent:
        exponent -= 1
    unit = Fraction(2) ** (exponent - 23)
    steps = round(exact / unit)  # ties to even
    if abs(steps * unit) >= Fraction(2) ** 128:
        return math.copysign(math.inf, exact)
    return float(steps * unit)


def flushed(x: float) -> float:
    return math.copysign(0.0, x) if abs(x) < 2.0**-126 else x


def reference(operation: str, a: float, b: float) -> float:
    """One operation on Python floats that hold fp32 values."""
    a, b = flushed(a), flushed(b)
    if operation == "sub":
        operation, b = "add", -b
    if not (math.isfinite(a) and math.isfinite(b)):
        try:
            return a + b if operation == "add" else a * b
        except OverflowError:
            raise AssertionError from None
    if operation == "add":
        return rounded(Fraction(a) + Fraction(b), a + b)
    return rounded(Fraction(a) * Fraction(b), math.copysign(1, a) * math.copysign(1, b))


def values(dice: np.random.Generator, count: int) -> np.ndarray:
    """Any bit patterns, values of nearby exponents, tiny values and special ones."""
    parts = [
        dice.integers(0, 1 << 32, count, np.uint32).view(np.float32),
        (dice.standard_normal(count) * 2.0 ** dice.integers(-6, 6, count)).astype(np.float32),
        (dice.standard_normal(count) * 2.0 ** dice.integers(-66, -60, count)).astype(np.float32),
        (dice.standard_normal(count) * 2.0 ** dice.integers(-126, -118, count)).astype(np.float32),
        dice.choice(ALL_SPECIAL, count),
    ]
    return dice.permutation(np.concatenate(parts))


@pytest.mark.parametrize("operation", ["add", "sub", "mul"])
def test_arithmetic_is_correctly_rounded(operation: str):
    dice = rng(1)
    a, b = values(dice, 500), values(dice, 500)
    got = getattr(numbers, operation)(a, b)
    for x, y, z in zip(a.tolist(), b.tolist(), got, strict=True):
        wanted = np.float32(reference(operation, x, y))
        wanted_bits = numbers.QUIET_NAN if np.isnan(wanted) else bits(wanted)
        assert bits(z) == wanted_bits, f"{x!r} {operation} {y!r}: {wanted!r} wanted, {z!r} found"


@pytest.mark.parametrize("operation", ["add", "sub", "mul", "maximum", "minimum"])
def test_each_pair_of_special_values_alone_gives_the_same_as_among_others(operation: str):
    """The looks for subnormals and NaNs choose a way, never a result."""
    function = getattr(numbers, operation)
    together = function(ALL_SPECIAL[:, None], ALL_SPECIAL[None])
    for i, a in enumerate(ALL_SPECIAL):
        alone = [function(np.array([a]), np.array([b]))[0] for b in ALL_SPECIAL]
        assert bits(np.array(alone)) == bits(together[i])


def test_product_just_below_the_least_normal_number_is_flushed_before_rounding():
    a = np.array([0x00FFFFFF], np.uint32).view(np.float32)  # 2^-126 (2 - 2^-23)
    b = np.array([0x3F000000], np.uint32).view(np.float32)
    assert bits(a * b) == [0x00800000]  # IEEE rounds up to 2^-126
    assert bits(numbers.mul(a, b)) == [0]
    assert bits(numbers.mul(-a, b)) == [0x80000000]


def minus_zero_first(value: float) -> tuple[float, float]:
    """Sorts numbers as they are, and -0 below +0."""
    return value, math.copysign(1, value)


@pytest.mark.parametrize(("name", "function"), [("maximum", max), ("minimum", min)])
def test_maximum_and_minimum(name: str, function):
    dice = rng(2)
    a, b = values(dice, 400), values(dice, 400)
    for x, y, z in zip(a.tolist(), b.tolist(), getattr(numbers, name)(a, b), strict=True):
        x, y = flushed(x), flushed(y)
        if math.isnan(x) or math.isnan(y):
            assert bits(z) == numbers.QUIET_NAN
        else:
            assert bits(np.float32(function(x, y, key=minus_zero_first))) == bits(z)


def test_to_bf16_agrees_with_ml_dtypes():
    x = numbers.canonical(values(rng(3), 4000))
    wanted = x.astype(ml_dtypes.bfloat16).view(np.uint16)
    got = numbers.to_bf16(x)
    nan = np.isnan(x)
    assert bits(got[~nan]) == bits(wanted[~nan])
    assert set(bits(got[nan])) == {0x7FC0}


def test_from_bf16_is_every_value():
    every = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)
    wanted = every.view(ml_dtypes.bfloat16).astype(np.float32)
    got = numbers.from_bf16(every)
    tiny = np.abs(wanted) < 2.0**-126
    normal = ~(tiny | np.isnan(wanted))
    assert bits(got[normal]) == bits(wanted[normal])
    assert bits(got[tiny]) == bits(np.copysign(np.float32(0), wanted[tiny]))
    assert set(bits(got[np.isnan(wanted)])) == {numbers.QUIET_NAN}


def matmul_reference(a, w, rows: int, previous) -> np.ndarray:
    """Element by element with exact rational arithmetic."""
    result = np.zeros((a.shape[0], w.shape[1]), np.float32)
    for i, j in np.ndindex(result.shape):
        total = None if previous is None else flushed(float(previous[i, j]))
        for start in range(0, a.shape[1], rows):
            psum = None
            for k in range(start, start + rows):
                inside = k < a.shape[1]
                x, y = (float(a[i, k]), float(w[k, j])) if inside else (0.0, 0.0)
                product = reference("mul", x, y)
                psum = product if psum is None else reference("add", psum, product)
            total = psum if total is None else reference("add", total, psum)
        result[i, j] = total
    return result


@pytest.mark.parametrize("kind", range(4))
@pytest.mark.parametrize("accumulate", [False, True])
def test_matmul_adds_in_the_stated_order(kind: int, accumulate: bool):
    dice = rng(40 + kind)
    m, k, n = 3, 19, 5

    def some(*shape: int) -> np.ndarray:
        scale = [1, 2.0**-62, 1, 1][kind] * 2.0 ** dice.integers(-4, 4, shape)
        x = (dice.standard_normal(shape) * scale).astype(np.float32)
        if kind == 2:
            x[dice.random(shape) < 0.4] = -0.0
        if kind == 3:
            x.flat[dice.integers(0, x.size, 4)] = [3e38, -3e38, 1e-38, 1e-20]
        return x

    a, w = (numbers.from_bf16(numbers.to_bf16(x)) for x in (some(m, k), some(k, n)))
    previous = some(m, n) if accumulate else None
    got = numbers.matmul(a, w, 8, previous)
    wanted = numbers.canonical(matmul_reference(a, w, 8, previous))
    assert bits(got) == bits(wanted)


def test_matmul_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch):
    dice = rng(5)
    a, w = (numbers.to_bf16(dice.standard_normal(s).astype(np.float32)) for s in ((7, 50), (50, 9)))
    whole = numbers.matmul_bf16(a, w, 8)
    monkeypatch.setattr(numbers, "_BLOCK_ELEMENTS", 100)
    assert bits(numbers.matmul_bf16(a, w, 8)) == bits(whole)


@pytest.mark.parametrize("cols", [1, 7, 8, 9, 40])
@pytest.mark.parametrize("scale", [1.0, 2.0**-120])
def test_row_sum_adds_in_the_stated_order(cols: int, scale: float):
    x = (rng(6).standard_normal((3, cols)) * scale).astype(np.float32)
    for row, got in zip(x.tolist(), numbers.row_sum(x, 8), strict=True):
        row += [0.0] * (-cols % 8)
        lanes = row[:8]
        for start in range(8, len(row), 8):
            lanes = [reference("add", lane, row[start + i]) for i, lane in enumerate(lanes)]
        lanes = [flushed(lane) for lane in lanes]
        while len(lanes) > 1:
            half = len(lanes) // 2
            lanes = [reference("add", lanes[i], lanes[i + half]) for i in range(half)]
        assert bits(np.float32(lanes[0])) == bits(got)


def test_subnormal_differences_on_the_way_are_flushed():
    """Each sum passes through 2^-127 or less, and goes on from 0."""
    u, tiny = 2.0**-104, 2.0**-126
    row = np.zeros((1, 24), np.float32)
    row[0, ::8] = [(1 + 2.0**-23) * u, -u, u]
    assert numbers.row_sum(row, 8).tolist() == [np.float32(u)]
    a, w = np.zeros((1, 16), np.float32), np.zeros((16, 1), np.float32)
    a[0, ::8], w[::8, 0] = [-(2.0**-52), 2.0**-52], [2.0**-52] * 2
    assert numbers.matmul(a, w, 8, row[:, :1]).tolist() == [[np.float32(u)]]
    a, w = np.zeros((1, 3), np.float32), np.zeros((3, 1), np.float32)
    a[0] = [(1 + 2.0**-7) * 2.0**-60, -(1 + 2.0**-6) * 2.0**-60, 2.0**-63]
    w[:, 0] = [(1 + 2.0**-7) * 2.0**-60, 2.0**-60, 2.0**-63]
    assert numbers.matmul(a, w, 8).tolist() == [[np.float32(tiny)]]


def test_row_max():
    x = values(rng(7), 60)[:300].reshape(10, 30)
    x[:5] = np.where(np.isnan(x[:5]), np.float32(-7), x[:5])
    got = numbers.row_max(x, 8)
    flat = np.where(np.abs(x) < 2.0**-126, np.copysign(np.float32(0), x), x)
    assert got[:5].tolist() == flat[:5].max(axis=1).tolist()
    assert bits(numbers.row_max(np.float32([[-0.0, -0.0, 0.0], [-1, np.nan, 1]]), 8)) == [
        0,
        numbers.QUIET_NAN,
    ]


def test_arguments_are_not_changed():
    a = np.array([[1, 1e-40, np.nan]], np.float32)
    before = bits(a)
    for function in (numbers.add, numbers.sub, numbers.mul, numbers.maximum, numbers.minimum):
        function(a, a)
    numbers.row_sum(a, 8)
    numbers.matmul_bf16(
        np.ones((2, 9), np.uint16), np.ones((9, 3), np.uint16), 8, np.ones((2, 3), np.float32)
    )
    assert bits(a) == before
