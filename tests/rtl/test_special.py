"""Special functions against `isa.special` bit by bit, and against float64 within their bound."""

import numpy as np
import pytest

from isa import special
from rtl.special import Function, SpecialFunctions
from tests.support import rng, simulate

LANES = 4
DEFINITIONS = {
    Function.RECIP: (special.recip, lambda x: 1 / x),
    Function.RSQRT: (special.rsqrt, lambda x: 1 / np.sqrt(x)),
    Function.EXP2: (special.exp2, np.exp2),
}
DIRECTED = [
    0x00000000, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001, 0xFFFFFFFF,
    0x00000001, 0x807FFFFF, 0x00800000, 0x80800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x3F800000,
    0xBF800000, 0x3F7FFFFF, 0x3F800001, 0x43000000, 0xC3000000, 0x42FFFFFF, 0xC2FC0000,
    0xC2FC0001, 0xC2FBFFFF, 0x7E800000, 0x7E800001, 0x7F000000, 0x42FE0000, 0x33000000,
    0x32800000, 0x32FFFFFF, 0xB2800000, 0x31FFFFFF, 0x38D1B717, 0x437FFFFF, 0xC37FFFFF,
]  # fmt: skip


def run(function: Function, x: np.ndarray, stall: float = 0.0) -> np.ndarray:
    """x: (n,) uint32 patterns → (n,) uint32 results, LANES of them a cycle."""
    dut = SpecialFunctions(LANES)
    padded = np.resize(x, -(-len(x) // LANES) * LANES).reshape(-1, LANES)
    results, inside = [], []
    dice = rng(11)

    async def bench(ctx) -> None:
        ctx.set(dut.function, function)
        for index in range(len(padded) + dut.latency):
            while dice.random() < stall:
                ctx.set(dut.go, 0)
                await ctx.tick()
            if len(inside) >= dut.latency:
                results.append([ctx.get(y) for y in dut.y])
            ctx.set(dut.go, 1)
            for port, value in zip(dut.x, padded[min(index, len(padded) - 1)], strict=True):
                ctx.set(port, int(value))
            inside.append(index)
            await ctx.tick()

    simulate(dut, bench)
    return np.array(results, np.uint32).reshape(-1)[: len(x)]


def patterns(seed: int, count: int) -> np.ndarray:
    """Every bit pattern as likely, half of them with exponents around 0."""
    dice = rng(seed)
    bits = dice.integers(0, 1 << 32, count, dtype=np.uint32)
    near = dice.integers(127 - 30, 127 + 9, count // 2, dtype=np.uint32) << np.uint32(23)
    bits[: count // 2] = bits[: count // 2] & np.uint32(0x807FFFFF) | near
    return np.concatenate([np.array(DIRECTED, np.uint32), bits])


def test_no_lanes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^special functions need at least 1 lane, not 0$"):
        SpecialFunctions(0)


@pytest.mark.parametrize("function", Function)
@pytest.mark.parametrize("stall", [0.0, 0.4])
def test_agrees_with_the_definition(function: Function, stall: float) -> None:
    x = patterns(5, 12_000 if stall == 0 else 400)
    expected = DEFINITIONS[function][0](x.view(np.float32)).view(np.uint32)
    np.testing.assert_array_equal(run(function, x, stall), expected)


@pytest.mark.parametrize("function", Function)
def test_is_within_one_ulp_of_the_exact_value(function: Function) -> None:
    low, high = (-125.9, 127.9) if function is Function.EXP2 else (1e-37, 1e37)
    x = rng(6).uniform(low, high, 3_000).astype(np.float32)
    if function is not Function.EXP2:
        x = np.exp(rng(7).uniform(-80, 80, len(x))).astype(np.float32)
    y = run(function, x.view(np.uint32)).view(np.float32).astype(np.float64)
    exact = DEFINITIONS[function][1](x.astype(np.float64))
    ulp = np.exp2(np.floor(np.log2(exact)) - 23)
    worst = np.max(np.abs(y - exact) / ulp)
    print(f"{function.name}: {worst:.3f} ulp")
    assert 0.4 < worst <= 1.0
