"""Storage formats against ml_dtypes, gfloat and exact rational arithmetic."""

from fractions import Fraction

import gfloat
import ml_dtypes
import numpy as np
import pytest
from gfloat.formats import format_info_ocp_e2m1, format_info_ocp_e4m3, format_info_ocp_e5m2

from isa import formats, numbers
from isa.formats import FORMATS, decode, expand, pack, quantise, unpack
from tests.support import rng

BYTES = np.arange(256, dtype=np.uint8)
SMALL = {
    "e4m3": (ml_dtypes.float8_e4m3fn, format_info_ocp_e4m3),
    "e5m2": (ml_dtypes.float8_e5m2, format_info_ocp_e5m2),
    "e2m1": (ml_dtypes.float4_e2m1fn, format_info_ocp_e2m1),
}
LARGEST = {"i8": 127, "e4m3": 448, "e5m2": 57344}


def same(left: np.ndarray, right: np.ndarray) -> bool:
    """Equal values, NaNs and signs of zeros."""
    equal = np.array_equal(left, right, equal_nan=True)
    number = ~np.isnan(left)
    return equal and np.array_equal(np.signbit(left[number]), np.signbit(right[number]))


@pytest.mark.parametrize("name", SMALL)
def test_every_code_decodes_as_in_ml_dtypes_and_gfloat(name: str):
    dtype, info = SMALL[name]
    codes = BYTES[: 16 if name == "e2m1" else 256]
    values = decode(name, codes)
    assert same(values, codes.view(dtype).astype(np.float32))
    assert same(values, np.array([gfloat.decode_float(info, int(c)).fval for c in codes], "f4"))


def test_every_integer_and_scale_decodes():
    assert decode("i8", BYTES).tolist() == [*range(128), *range(-128, 0)]
    assert decode("i4", BYTES[:16]).tolist() == [*range(8), *range(-8, 0)]
    scales = decode("e8m0", BYTES)
    assert np.isnan(scales[255])
    assert [Fraction(s) for s in scales[:255]] == [Fraction(2) ** (n - 127) for n in range(255)]
    assert same(scales.astype(np.float64), BYTES.view(ml_dtypes.float8_e8m0fnu).astype(np.float64))
    with pytest.raises(ValueError, match=r"^format must be one of bf16, .*, nvfp4, not 'int3'$"):
        decode("int3", BYTES)


def exact_product(element: float, scale: float) -> float:
    """bf16 of element * scale: rounded once from the exact product, then flushed."""
    if np.isnan(element) or np.isnan(scale) or np.isinf(element) or np.isinf(scale):
        with np.errstate(all="ignore"):
            return float(np.float32(element) * np.float32(scale))
    product = Fraction(element) * Fraction(scale)
    sign = np.copysign(1.0, element) * np.copysign(1.0, scale)
    if abs(product) < Fraction(2) ** -126:
        return float(np.copysign(0.0, sign))
    exponent = 0
    magnitude = abs(product)
    while magnitude >= 2:
        magnitude, exponent = magnitude / 2, exponent + 1
    while magnitude < 1:
        magnitude, exponent = magnitude * 2, exponent - 1
    steps = round(magnitude * 128)  # Python rounds halves to even
    rounded = Fraction(steps, 128) * Fraction(2) ** exponent
    return float(sign * rounded) if rounded < Fraction(2) ** 128 else float(sign * np.inf)


SCALES = {"e8m0": [0, 1, 2, 64, 126, 127, 128, 200, 252, 253, 254, 255], "e4m3": range(256)}


@pytest.mark.parametrize("name", [name for name, entry in FORMATS.items() if entry.block])
def test_blocks_expand_to_the_exact_product(name: str):
    entry = FORMATS[name]
    elements = decode(name, BYTES[: 1 << entry.bits])
    if entry.scale == "bf16":
        scales = rng(1).integers(0, 1 << 16, 300).astype(np.uint16)
        scales = np.concatenate([scales, np.array([0, 0x8000, 1, 0x7F80, 0x7FC0, 0x80], np.uint16)])
    else:
        scales = np.array(SCALES[entry.scale], np.uint8)
    values = decode(entry.scale, scales)
    codes = np.arange(1 << entry.bits, dtype=np.uint8)
    grid = np.repeat(codes[:, None], len(scales), axis=1)
    for row, element in zip(grid, elements, strict=True):
        got = numbers.widen(expand(name, row[None], scales[None]))[0]
        wanted = [exact_product(float(element), float(scale)) for scale in values]
        assert same(got, np.array(wanted, np.float32)), (name, element)


@pytest.mark.parametrize("name", [name for name, entry in FORMATS.items() if not entry.block])
def test_plain_formats_expand_exactly(name: str):
    codes = np.arange(1 << FORMATS[name].bits).astype(np.uint16 if name == "bf16" else np.uint8)
    got = numbers.widen(expand(name, codes[None]))[0]
    if name == "bf16":
        wanted = codes.view(ml_dtypes.bfloat16).astype(np.float32)
        tiny = np.abs(wanted) < 2.0**-126
        wanted[tiny] = np.copysign(0, wanted[tiny])
    else:
        wanted = codes.view({"i8": np.int8, **{n: d for n, (d, _) in SMALL.items()}}[name])
        wanted = wanted.astype(np.float32)
    assert same(got, wanted)


def test_a_scale_holds_for_its_block_only():
    codes, scales = np.full((70, 3), 2, np.uint8), rng(2).integers(120, 134, (3, 3)).astype("u1")
    got = numbers.widen(expand("mxfp4", codes, scales))  # code 2 is 1.0
    for k in range(70):
        assert got[k].tolist() == [2.0 ** (int(s) - 127) for s in scales[k // 32]]
    with pytest.raises(ValueError, match=r"^mxfp4: needs scales, one for each block of 32$"):
        expand("mxfp4", codes)


def test_packing():
    codes = rng(3).integers(0, 16, (5, 14)).astype(np.uint8)
    data = pack("mxfp4", codes)
    assert data.shape == (5, 7)
    assert data[2, 3] == codes[2, 6] + 16 * codes[2, 7]
    pairs = codes.view(ml_dtypes.float4_e2m1fn).astype(np.float32)
    assert same(decode("mxfp4", unpack("mxfp4", data, 13)), pairs[:, :13])
    assert pack("bf16", np.array([0x1234], np.uint16)).tolist() == [0x34, 0x12]
    assert unpack("i8", pack("i8", codes), 9).tolist() == codes[:, :9].tolist()
    with pytest.raises(ValueError, match=r"^i4: rows must have an even length, not 5$"):
        pack("i4", codes[:, :5])


def around_ties(name: str) -> np.ndarray:
    """fp32 values at, just below and just above every value and every middle of two values."""
    values = np.unique(decode(name, BYTES).astype(np.float64))
    values = values[np.isfinite(values)]
    places = np.concatenate([values, (values[1:] + values[:-1]) / 2]).astype(np.float32)
    near = [places, np.nextafter(places, np.float32(np.inf)), np.nextafter(places, -np.inf)]
    return np.concatenate(near).astype(np.float32)


def reference_quantise(name: str, x: np.ndarray) -> np.ndarray:
    """By ml_dtypes (fp8) and float64 rounding (i8), of what is no NaN."""
    if name == "i8":
        return np.clip(np.rint(x.astype(np.float64)), -128, 127).astype(np.int8).view(np.uint8)
    limited = np.clip(x, -LARGEST[name], LARGEST[name])
    return limited.astype(SMALL[name][0]).view(np.uint8)


@pytest.mark.parametrize("name", ["i8", "e4m3", "e5m2"])
def test_quantising_rounds_to_nearest_even_and_saturates(name: str):
    bits = rng(4).integers(0, 1 << 32, 1_200_000, dtype=np.uint32).view(np.float32)
    spread = rng(5).normal(0, 1, 400_000) * np.exp2(rng(6).integers(-20, 20, 400_000))
    special = np.array([0.0, -0.0, np.inf, -np.inf, 1e-45, -1e-45, 3e38], np.float32)
    x = np.concatenate([bits, spread.astype(np.float32), special, around_ties(name)])
    x = x[~np.isnan(x)]
    subnormal = np.abs(x) < 2.0**-126
    flushed = np.where(subnormal, np.copysign(np.float32(0), x), x)
    assert np.array_equal(quantise(name, x), reference_quantise(name, flushed))
    nan = np.array([np.nan, -np.nan], np.float32)
    assert quantise(name, nan).tolist() == ([0, 0] if name == "i8" else [0x7F, 0x7F])


@pytest.mark.parametrize("name", ["e4m3", "e5m2"])
def test_quantising_agrees_with_gfloat(name: str):
    info = SMALL[name][1]
    x = np.concatenate([around_ties(name), np.array([np.inf, -np.inf, 1e30, -1e30], np.float32)])
    wanted = [
        gfloat.encode_float(
            info, gfloat.round_float(info, float(v), gfloat.RoundMode.TiesToEven, True)
        )
        for v in x
    ]
    assert quantise(name, x).tolist() == wanted


def test_unknown_targets_are_refused():
    with pytest.raises(ValueError, match=r"^format must be i8, e4m3 or e5m2, not 'i4'$"):
        quantise("i4", np.zeros(1, np.float32))


def test_sizes():
    assert [entry.bytes_of(32) for entry in FORMATS.values()] == [
        64,
        32,
        32,
        32,
        16,
        32,
        32,
        16,
        16,
    ]
    assert [entry.scale_bytes for entry in FORMATS.values()] == [0, 0, 0, 0, 2, 1, 1, 1, 1]
    assert set(formats.ACTIVATIONS) == {"bf16", "fp8", "int8"}
