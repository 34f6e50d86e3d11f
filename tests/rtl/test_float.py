"""rtl.float against isa.numbers on all bits, against NumPy and ml_dtypes on normal values."""

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest
from amaranth.hdl import Module, Signal

from isa import numbers
from rtl import float as fp
from tests.rtl.floats import SPECIAL, run, same
from tests.support import rng

CASES = 20_000


def _pairs(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Every pair of the special values, random bits, and near neighbours that cancel or tie."""
    dice = rng(seed)
    special = [x.ravel() for x in np.meshgrid(SPECIAL, SPECIAL)]
    anything = dice.integers(0, 1 << 32, (2, CASES // 2), dtype=np.uint32)
    a = dice.integers(0, 1 << 32, CASES // 2, dtype=np.uint32)
    # Same exponent give or take 30, often few bits, often the other sign.
    shift = dice.integers(-30, 31, a.size) * (dice.random(a.size) < 0.7)
    exponent = np.clip((a >> 23 & 255).astype(np.int64) + shift, 0, 255).astype(np.uint32)
    fraction = a ^ dice.integers(0, 4, a.size, dtype=np.uint32) << dice.integers(
        0, 22, a.size, dtype=np.uint32
    )
    b = dice.integers(0, 2, a.size, dtype=np.uint32) << 31 | exponent << 23 | fraction & 0x7FFFFF
    return tuple(np.concatenate([special[i], anything[i], (a, b)[i]]) for i in range(2))


def _f32(bits: np.ndarray) -> np.ndarray:
    return bits.astype(np.uint32).view(np.float32)


def _maximum(m: Module, a: Signal, b: Signal, name: str) -> Signal:
    return fp.fp_extremes(m, a, b, name).maximum


def _minimum(m: Module, a: Signal, b: Signal, name: str) -> Signal:
    return fp.fp_extremes(m, a, b, name).minimum


@pytest.mark.parametrize(
    ("function", "golden", "native"),
    [
        (fp.fp_add, numbers.add, np.add),
        (fp.fp_sub, numbers.sub, np.subtract),
        (fp.fp_mul, numbers.mul, np.multiply),
        (_maximum, numbers.maximum, np.maximum),
        (_minimum, numbers.minimum, np.minimum),
    ],
)
def test_fp32_binary(function: Callable, golden: Callable, native: Callable) -> None:
    a, b = _pairs(1)
    got = run(function, 32, a, b)
    same(got, golden(_f32(a), _f32(b)), a, b)
    with np.errstate(all="ignore"):
        host = native(_f32(a), _f32(b))
    # NumPy has no flushing, many NaNs, and no order of zeros: compare where that cannot matter.
    plain = [np.abs(x) >= 2.0**-125 for x in (_f32(a), _f32(b), host)]
    plain = np.logical_and.reduce(plain) & ~np.isnan(host)
    assert plain.sum() > CASES / 2
    same(got[plain], host[plain], a[plain], b[plain])


def test_bf16_product_is_exact() -> None:
    a, b = ((x >> 16).astype(np.uint16) for x in _pairs(2))
    got = run(fp.bf16_mul, 32, a, b)
    same(got, numbers.mul(numbers.from_bf16(a), numbers.from_bf16(b)), a, b)
    with np.errstate(all="ignore"):
        exact = a.view(ml_dtypes.bfloat16).astype(np.float64) * b.view(ml_dtypes.bfloat16)
        normal = (np.abs(exact) >= 2.0**-126) & (np.abs(exact) < 2.0**128)
    small = [(x & 0x7F80) == 0 for x in (a, b)]
    normal &= ~(small[0] | small[1])
    assert normal.sum() > CASES / 4
    assert (_f32(got)[normal] == exact[normal]).all()


def test_to_bf16() -> None:
    x = _pairs(3)[0]
    ties = x & np.uint32(0xFFFF0000) | np.uint32(0x8000)
    x = np.concatenate([x, ties[:1000], ties[:1000] + 1, ties[:1000] - 1])
    got = run(fp.to_bf16, 16, x)
    same(got, numbers.to_bf16(_f32(x)), x)
    normal = (np.abs(_f32(x)) >= 2.0**-126) & ~np.isnan(_f32(x))
    with np.errstate(all="ignore"):
        host = _f32(x)[normal].astype(ml_dtypes.bfloat16).view(np.uint16)
    same(got[normal], host, x[normal])


def test_canonical() -> None:
    x = _pairs(4)[0]
    same(run(fp.canonical, 32, x), numbers.canonical(_f32(x)), x)


def test_from_bf16_for_every_value() -> None:
    x = np.arange(1 << 16, dtype=np.uint16)
    same(run(fp.from_bf16, 32, x), numbers.from_bf16(x), x)


def test_negative_changes_only_the_sign() -> None:
    x = SPECIAL
    got = run(lambda m, value, name: fp.wire(m, fp.negative(value), name), 32, x)
    same(got, x ^ np.uint32(1 << 31), x)
