"""Divider against Python's division."""

import random

import pytest

from rtl.divide import Divider
from tests.support import simulate


def test_reject_no_bits():
    with pytest.raises(ValueError, match=r"^Divider bits must be at least 1, not 0$"):
        Divider(0)


@pytest.mark.parametrize("bits", [1, 5, 16])
def test_divides(bits):
    dut, dice, top = Divider(bits), random.Random(bits), (1 << bits) - 1
    cases = [(top, 1), (top, top), (0, 1), (top - 1, top), (1, top)]
    cases += [(dice.getrandbits(bits), dice.randint(1, top)) for _ in range(200)]

    async def bench(ctx):
        for dividend, divisor in cases:
            ctx.set(dut.valid, 1)
            ctx.set(dut.dividend, dividend)
            ctx.set(dut.divisor, divisor)
            cycles = 0
            while not ctx.get(dut.done):
                await ctx.tick()
                cycles += 1
            assert cycles == bits + 1
            assert ctx.get(dut.quotient) == dividend // divisor
            await ctx.tick()
            assert ctx.get(dut.quotient) == dividend // divisor, "stays until clear"
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)

    simulate(dut, bench)
