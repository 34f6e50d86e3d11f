"""rtl.convert against isa.formats on all bits, and against ml_dtypes and gfloat."""

import gfloat
import ml_dtypes
import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from gfloat.formats import format_info_ocp_e4m3, format_info_ocp_e5m2

from isa import formats, numbers
from rtl import convert
from tests.rtl.floats import SPECIAL, run, same
from tests.support import rng

FP8 = {
    "e4m3": (4, ml_dtypes.float8_e4m3fn, format_info_ocp_e4m3),
    "e5m2": (5, ml_dtypes.float8_e5m2, format_info_ocp_e5m2),
}
CODES = np.arange(256, dtype=np.uint8)


def narrowed(target: str, bits: np.ndarray) -> np.ndarray:
    """Codes that the hardware makes of fp32 patterns."""

    def function(m: Module, x: Signal, name: str) -> Signal:
        integer, wide = Signal(name=f"{name}_i"), Signal(name=f"{name}_w")
        m.d.comb += [integer.eq(target == "i8"), wide.eq(target == "e5m2")]
        return convert.to_byte(m, x, integer, wide, name)

    return run(function, 8, bits)


def ties(target: str) -> np.ndarray:
    """Both signs of each value halfway between neighbours, the neighbours, and what lies around."""
    values = np.unique(np.abs(formats.decode(target, CODES).astype(np.float64)))
    values = values[np.isfinite(values)]
    middles = (values[1:] + values[:-1]) / 2
    beyond = values[-1] + (values[-1] - values[-2]) * np.array([0.5, 1.0, 2.0])
    points = np.concatenate([values, middles, beyond]).astype(np.float32).view(np.uint32)
    near = points[:, None].astype(np.int64) + np.array([-2, -1, 0, 1, 2])
    near = np.clip(near, 0, 0x7F800000).astype(np.uint32).ravel()
    return np.concatenate([near, near | np.uint32(1 << 31)])


def random_near(target: str, seed: int) -> np.ndarray:
    """Random bits, mostly of the magnitudes that the format has."""
    dice = rng(seed)
    bits = dice.integers(0, 1 << 32, 20_000, dtype=np.uint32)
    exponents = dice.integers(127 - 20, 127 + 18, 16_000, dtype=np.uint32) << np.uint32(23)
    bits[:16_000] = bits[:16_000] & np.uint32(0x807FFFFF) | exponents
    return np.concatenate([bits, ties(target), SPECIAL])


def check_against_ml_dtypes(target: str, bits: np.ndarray, got: np.ndarray) -> None:
    """Where ml_dtypes saturates not but overflows, or keeps subnormal inputs, the ISA says what."""
    x = bits.view(np.float32)
    usable = ~np.isnan(x) & (np.abs(x) >= 2.0**-126)
    if target == "i8":
        want = np.clip(np.rint(x[usable].astype(np.float64)), -128, 127)
        assert (got[usable].astype(np.uint8).view(np.int8) == want).all()
        return
    _, dtype, info = FP8[target]
    limited = np.clip(x, -info.max, info.max)[usable]
    assert (got[usable] == limited.astype(dtype).view(np.uint8)).all()


@pytest.mark.parametrize("target", ["i8", "e4m3", "e5m2"])
def test_to_byte_of_every_bf16_value(target: str) -> None:
    bits = np.arange(1 << 16, dtype=np.uint32) << np.uint32(16)
    got = narrowed(target, bits)
    same(got, formats.quantise(target, bits.view(np.float32)), bits)
    check_against_ml_dtypes(target, bits, got)


@pytest.mark.parametrize("target", ["i8", "e4m3", "e5m2"])
def test_to_byte_around_every_tie(target: str) -> None:
    bits = random_near(target, 31)
    got = narrowed(target, bits)
    same(got, formats.quantise(target, bits.view(np.float32)), bits)
    check_against_ml_dtypes(target, bits, got)


@pytest.mark.parametrize("target", FP8)
def test_to_fp8_agrees_with_gfloat(target: str) -> None:
    """Everything but subnormal inputs: also what saturates."""
    bits = ties(target)[::3]
    x = bits.view(np.float32)
    got = narrowed(target, bits)
    info, mode = FP8[target][2], gfloat.RoundMode.TiesToEven
    for value, code in zip(x, got, strict=True):
        if value == 0 or abs(value) >= 2.0**-126:
            rounded = gfloat.round_float(info, float(value), mode, sat=True)
            assert int(code) == gfloat.encode_float(info, rounded), value


@pytest.mark.parametrize("target", FP8)
def test_from_fp8_for_every_code(target: str) -> None:
    exponent_bits, dtype, info = FP8[target]
    got = run(lambda m, x, name: convert.from_fp8(m, x, exponent_bits, name), 32, CODES)
    same(got, formats.decode(target, CODES), CODES)
    nan = np.isnan(CODES.view(dtype).astype(np.float32))
    assert (got[nan] == numbers.QUIET_NAN).all()
    same(got[~nan], CODES.view(dtype).astype(np.float32)[~nan], CODES[~nan])
    for code, value in zip(CODES[~nan], got[~nan].astype(np.uint32).view(np.float32), strict=True):
        assert gfloat.decode_float(info, int(code)).fval == value


def test_from_byte_for_every_code() -> None:
    got = run(lambda m, x, name: convert.from_integer(m, x, name), 32, CODES)
    same(got, CODES.view(np.int8).astype(np.float32), CODES)


def test_from_integer_rounds_to_even() -> None:
    dice = rng(33)
    x = dice.integers(-(1 << 31), 1 << 31, 20_000, np.int64)
    x >>= dice.integers(0, 32, x.size)
    # Halfway between two fp32 values above 2^24, and next to it; the ends of the range.
    power = dice.integers(24, 31, 3000)
    ulp = 1 << (power - 23)
    near = (1 << power) + ulp * dice.integers(0, 1 << 23, 3000) + ulp // 2
    x = np.concatenate([x, near - 1, near, near + 1, -near, [0, 1, -1, -(1 << 31), (1 << 31) - 1]])
    x = np.clip(x, -(1 << 31), (1 << 31) - 1).astype(np.int32)
    got = run(lambda m, v, name: convert.from_integer(m, v, name), 32, x.view(np.uint32))
    same(got, x.astype(np.float64).astype(np.float32), x)
    same(got, numbers.from_int32(x), x)
