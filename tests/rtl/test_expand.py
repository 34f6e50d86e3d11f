"""Expander: every code of every format, with scales of all kinds."""

import ml_dtypes
import numpy as np
import pytest
from amaranth.sim import Simulator
from numpy.typing import NDArray

from isa import formats, numbers
from rtl.expand import CODES, Expander, operand_bits
from tests.support import rng, simulate

ELEMENTS = {"mxfp8": "e4m3", "mxfp8_e5m2": "e5m2", "mxfp4": "e2m1", "nvfp4": "e2m1"}
REFERENCES = {
    "bf16": ml_dtypes.bfloat16,
    "e4m3": ml_dtypes.float8_e4m3fn,
    "e5m2": ml_dtypes.float8_e5m2,
    "e2m1": ml_dtypes.float4_e2m1fn,
    "e8m0": ml_dtypes.float8_e8m0fnu,
    "i8": np.int8,
    "i4": ml_dtypes.int4,
}
PAIRS = [(a, name) for name, entry in formats.FORMATS.items() for a in entry.arrays if a in CODES]
BF16_SCALES = np.array(
    [0, 0x8000, 1, 0x8001, 0x007F, 0x0080, 0x00FF, 0x8080, 0x3F80, 0xBFFF, 0x3FC1, 0x3DAB]
    + [0x7DFF, 0x7E00, 0x7E80, 0x7F7F, 0xFF7F, 0x7F80, 0xFF80, 0x7F81, 0x7FC0, 0xFFC1],
    np.uint16,
)


def _values(name: str, codes: NDArray) -> NDArray[np.float64]:
    """What ml_dtypes says that codes mean."""
    if name == "bf16":  # subnormals count as zeros
        codes = np.where(codes & 0x7F80, codes, codes & 0x8000).astype(np.uint16)
    bits = {"bf16": np.uint16}.get(name, np.uint8)
    with np.errstate(invalid="ignore"):  # signalling NaNs
        return codes.astype(bits).view(REFERENCES[name]).astype(np.float64)


def _reference(name: str, codes: NDArray, scales: NDArray | None) -> NDArray[np.uint16]:
    """Expanded weights from ml_dtypes' values, whose products float64 holds exactly."""
    entry = formats.FORMATS[name]
    exact = _values(ELEMENTS.get(name, name), codes)
    with np.errstate(all="ignore"):
        if scales is not None:
            exact = exact * _values(entry.scale, scales)
        flushed = np.where(np.abs(exact) < 2.0**-126, np.copysign(0.0, exact), exact)
        # Exact in fp32, so that rounding to bf16 is the only one.
        rounded = flushed.astype(np.float32).astype(ml_dtypes.bfloat16)
    return np.where(np.isnan(exact), 0x7FC0, rounded.view(np.uint16)).astype(np.uint16)


def _expand(element: str, name: str, codes: NDArray, scales: NDArray | None) -> NDArray[np.uint16]:
    """What the hardware makes of the codes, as bf16."""
    dut = Expander(element)
    entry, got = formats.FORMATS[name], []

    async def bench(ctx) -> None:
        for scale in [None] if scales is None else scales.tolist():
            if scale is not None:
                ctx.set(dut.kind, {entry.scale: 1})
                ctx.set(dut.code, scale)
                ctx.set(dut.scale, ctx.get(dut.expanded))
            kind = {"scaled": scale is not None, "power": entry.scale == "e8m0"}
            ctx.set(dut.kind, {ELEMENTS.get(name, name): 1} | kind)
            for code in codes.tolist():
                ctx.set(dut.code, code)
                got.append(ctx.get(dut.expanded))

    simulator = Simulator(dut)  # what is looked at needs no clock
    simulator.add_testbench(bench)
    simulator.run()
    return (np.array(got, np.uint32) << 16 - operand_bits(element)).astype(np.uint16)


def _scales(name: str) -> NDArray | None:
    kind = formats.FORMATS[name].scale
    if kind == "bf16":
        return np.append(BF16_SCALES, rng(1).integers(0, 1 << 16, 400, dtype=np.uint16))
    if kind == "e8m0" and formats.FORMATS[name].bits == 8:
        return np.array([0, 1, 2, 3, 10, 15, 16, 64, 126, 127, 128, 200, *range(236, 256)])
    return np.arange(256) if kind else None


@pytest.mark.parametrize(("element", "name"), PAIRS)
def test_all_codes(element: str, name: str) -> None:
    entry, scales = formats.FORMATS[name], _scales(name)
    codes = np.arange(1 << entry.bits) if entry.bits < 16 else rng(2).integers(0, 1 << 16, 4000)
    got = _expand(element, name, codes, scales)
    if scales is None:
        all_codes, all_scales, definition = codes, None, formats.expand(name, codes)
    else:
        all_codes, all_scales = np.tile(codes, len(scales)), np.repeat(scales, len(codes))
        of_scales = [formats.expand(name, codes[None], np.full((1, len(codes)), s)) for s in scales]
        definition = np.concatenate(of_scales, axis=None)
    want = _reference(name, all_codes, all_scales)
    if name == "bf16":  # they go through as they are
        assert np.array_equal(got, codes)
        got = numbers.to_bf16(numbers.from_bf16(got))
    assert np.array_equal(got, want)
    assert np.array_equal(definition, want)


def test_signs_and_limits_were_among_the_products() -> None:
    """The grid of int4 groups reaches every outcome: zeros, infinities and NaN, and rounding."""
    codes = np.arange(16)
    scales = BF16_SCALES
    want = set(_reference("i4", np.tile(codes, len(scales)), np.repeat(scales, 16)).tolist())
    assert {0, 0x8000, 0x7F80, 0xFF80, 0x7FC0, 0x0080} <= want


@pytest.mark.parametrize("element", CODES)
def test_operand_is_registered_and_zero_outside(element: str) -> None:
    dut = Expander(element)

    async def bench(ctx) -> None:
        ctx.set(dut.kind, {"e4m3": 1})
        for code, inside in [(0x38, 1), (0xB8, 0), (0xB8, 1), (0, 0)]:
            ctx.set(dut.code, code)
            ctx.set(dut.inside, inside)
            before = ctx.get(dut.operand)
            assert before == last[-1]
            last.append(ctx.get(dut.expanded) if inside else 0)
            await ctx.tick()

    last = [0]
    simulate(dut, bench)
    assert [x >> operand_bits(element) - 9 for x in last[1:]] == [0x7F, 0, 0x17F, 0]
