"""rtl.float against isa.numbers on all bits, against NumPy and ml_dtypes on normal values."""

from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from isa import numbers
from rtl import float as fp
from tests.support import rng

CASES = 20_000
UNITS = 25  # instances that work side by side: fewer, bigger steps of the simulator
SPECIAL = np.array(
    [0, 1, 0x7FFFFF, 0x800000, 0x800001, 0xFFFFFF, 0x1000000, 0x3F800000, 0x3F800001, 0x3F7FFFFF]
    + [0x33800000, 0x34000000, 0x33800001, 0x337FFFFF, 0x32800000, 0x4B800000, 0x4B7FFFFF]
    + [0x20000000, 0x1FFFFFFF, 0x5F800000, 0x7F7FFFFF, 0x7F7F0000, 0x7F7F8000, 0x7F7F7FFF]
    + [0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0x3F808000, 0x3F818000, 0x3F807FFF],
    np.uint32,
)
SPECIAL = np.concatenate([SPECIAL, SPECIAL | np.uint32(1 << 31)])


def _run(function: Callable, out_bits: int, *operands: np.ndarray) -> np.ndarray:
    """Results of `function(m, *operands)`, UNITS cases a step of Amaranth's simulator.

    All units share one wide input and output: the simulator settles once per `ctx.set`.
    """
    bits = 8 * operands[0].dtype.itemsize
    m = Module()
    pins = Signal(UNITS * len(operands) * bits)
    outs = Signal(UNITS * out_bits)
    for unit in range(UNITS):
        m.submodules[f"unit{unit}"] = sub = Module()
        first = unit * len(operands)
        inputs = [pins.word_select(first + i, bits) for i in range(len(operands))]
        sub.d.comb += outs.word_select(unit, out_bits).eq(function(sub, *inputs, name=f"f{unit}"))
    padding = -len(operands[0]) % UNITS
    cases = np.pad(np.stack(operands, axis=1), ((0, padding), (0, 0))).reshape(
        -1, len(pins) // bits
    )
    words: list[bytes] = []

    async def bench(ctx) -> None:
        for batch in cases:
            ctx.set(pins, int.from_bytes(batch.tobytes(), "little"))
            words.append(ctx.get(outs).to_bytes(len(outs) // 8, "little"))

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    results = np.frombuffer(b"".join(words), np.uint32 if out_bits == 32 else np.uint16)
    return results[: len(operands[0])].astype(np.uint32)


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


def _same(got: np.ndarray, want: np.ndarray, *operands: np.ndarray) -> None:
    """Compare bits; name the first case that differs."""
    want = np.ascontiguousarray(want)
    want = want.view(np.uint32) if want.dtype == np.float32 else want.astype(np.uint32)
    wrong = np.flatnonzero(got != want)
    if wrong.size:
        i = wrong[0]
        inputs = ", ".join(f"{int(x[i]):#x}" for x in operands)
        raise AssertionError(
            f"{wrong.size} wrong; f({inputs}) = {int(got[i]):#x}, want {int(want[i]):#x}"
        )


@pytest.mark.parametrize(
    ("function", "golden", "native"),
    [
        (fp.fp_add, numbers.add, np.add),
        (fp.fp_sub, numbers.sub, np.subtract),
        (fp.fp_mul, numbers.mul, np.multiply),
        (fp.fp_max, numbers.maximum, np.maximum),
        (fp.fp_min, numbers.minimum, np.minimum),
    ],
)
def test_fp32_binary(function: Callable, golden: Callable, native: Callable) -> None:
    a, b = _pairs(1)
    got = _run(function, 32, a, b)
    _same(got, golden(_f32(a), _f32(b)), a, b)
    with np.errstate(all="ignore"):
        host = native(_f32(a), _f32(b))
    # NumPy has no flushing, many NaNs, and no order of zeros: compare where that cannot matter.
    plain = [np.abs(x) >= 2.0**-125 for x in (_f32(a), _f32(b), host)]
    plain = np.logical_and.reduce(plain) & ~np.isnan(host)
    assert plain.sum() > CASES / 2
    _same(got[plain], host[plain], a[plain], b[plain])


def test_bf16_product_is_exact() -> None:
    a, b = ((x >> 16).astype(np.uint16) for x in _pairs(2))
    got = _run(fp.bf16_mul, 32, a, b)
    _same(got, numbers.mul(numbers.from_bf16(a), numbers.from_bf16(b)), a, b)
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
    got = _run(fp.to_bf16, 16, x)
    _same(got, numbers.to_bf16(_f32(x)), x)
    normal = (np.abs(_f32(x)) >= 2.0**-126) & ~np.isnan(_f32(x))
    with np.errstate(all="ignore"):
        host = _f32(x)[normal].astype(ml_dtypes.bfloat16).view(np.uint16)
    _same(got[normal], host, x[normal])


def test_canonical() -> None:
    x = _pairs(4)[0]
    _same(_run(fp.canonical, 32, x), numbers.canonical(_f32(x)), x)


def test_from_bf16_for_every_value() -> None:
    x = np.arange(1 << 16, dtype=np.uint16)
    _same(_run(fp.from_bf16, 32, x), numbers.from_bf16(x), x)


def test_negative_changes_only_the_sign() -> None:
    x = SPECIAL
    got = _run(lambda m, value, name: fp.wire(m, fp.negative(value), name), 32, x)
    _same(got, x ^ np.uint32(1 << 31), x)
