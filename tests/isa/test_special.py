"""isa.special against float64."""

import numpy as np
import pytest

from isa import special
from tests.support import rng

FUNCTIONS = {
    "recip": (special.recip, lambda x: 1 / x, 0.79),
    "rsqrt": (special.rsqrt, lambda x: 1 / np.sqrt(x), 0.62),
    "exp2": (special.exp2, np.exp2, 0.72),
}


def ulps(got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Errors in units of the last place of the exact values."""
    unit = 2.0 ** (np.floor(np.log2(np.abs(exact))) - 23)
    return np.abs(got.astype(np.float64) - exact) / unit


def arguments(name: str) -> np.ndarray:
    """Positive normal numbers, also of exp2 negative ones, with results in range."""
    dice = rng(11)
    if name == "exp2":
        small = dice.standard_normal(200_000) * 2.0 ** dice.integers(-20, 3, 200_000)
        return np.concatenate([dice.uniform(-125.9, 127.9, 400_000), small]).astype(np.float32)
    exponents = dice.integers(3, 252, 600_000).astype(np.uint32) << np.uint32(23)
    return (exponents | dice.integers(0, 1 << 23, 600_000).astype(np.uint32)).view(np.float32)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_stays_within_the_stated_bound(name: str):
    function, exact, bound = FUNCTIONS[name]
    x = arguments(name)
    assert ulps(function(x), exact(x.astype(np.float64))).max() < bound


@pytest.mark.parametrize("name", FUNCTIONS)
def test_all_segments_and_their_edges(name: str):
    function, exact, bound = FUNCTIONS[name]
    fractions = np.arange(0, 1 << 23, 1 << 12, dtype=np.int64)
    fractions = np.unique(np.clip(np.concatenate([fractions, fractions - 1]), 0, None))
    for exponent in (120, 121, 126, 127, 128):
        x = (fractions.astype(np.uint32) | np.uint32(exponent << 23)).view(np.float32)
        assert ulps(function(x), exact(x.astype(np.float64))).max() < bound


def test_special_values():
    inf, nan = np.inf, np.nan
    x = np.array([0.0, -0.0, inf, -inf, nan, 1e-45, -1e-45, -1.0, 1.0, 2.0, 4.0], np.float32)

    def check(function, wanted: list[float]) -> None:
        got = function(x)
        assert got.view(np.uint32).tolist() == np.float32(wanted).view(np.uint32).tolist()

    check(special.recip, [inf, -inf, 0.0, -0.0, nan, inf, -inf, -1, 1, 0.5, 0.25])
    half = float(special.rsqrt(np.float32([2.0]))[0])
    check(special.rsqrt, [inf, -inf, 0.0, nan, nan, inf, -inf, nan, 1, half, 0.5])
    check(special.exp2, [1, 1, inf, 0.0, nan, 1, 1, 0.5, 2, 4, 16])


def test_ends_of_the_range():
    x = np.float32([127.99999, 128, 200, 1e30, -126, -126.1, -149, -1e30])
    got = special.exp2(x)
    assert np.isfinite(got[0])
    assert np.isinf(got[1:4]).all()
    assert got[4] == np.float32(2.0**-126)
    assert got[5:].tolist() == [0, 0, 0]
    large = np.float32([2.0**126, 2.0**126 * 1.5, 2.0**127, 3e38])
    assert special.recip(large).tolist() == [2.0**-126, 0, 0, 0]
    assert special.recip(np.float32([-3e38])).view(np.uint32).tolist() == [0x80000000]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_alone_give_the_same_as_among_special_ones(name: str):
    function = FUNCTIONS[name][0]
    x = arguments(name)[:1000]
    mixed = np.concatenate([x, np.float32([0, -0.0, np.inf, np.nan, -5])])
    assert function(x).tolist() == function(mixed)[:1000].tolist()
    assert function(x[:1]).tolist() == function(x)[:1].tolist()


def test_tables_fit_their_widths():
    c0, c1, c2 = special.tables().T
    assert c0.min() >= 0
    assert c0.max() < 1 << special.C0_BITS
    for column, width in ((c1, special.C1_BITS), (c2, special.C2_BITS)):
        assert -(1 << width - 1) <= column.min()
        assert column.max() < 1 << width - 1
