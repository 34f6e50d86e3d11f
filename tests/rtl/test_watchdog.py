"""Watchdog: counts cycles without progress."""

import pytest

from rtl.watchdog import Watchdog
from tests.support import simulate


def test_reject_no_time():
    with pytest.raises(ValueError, match=r"^Watchdog cycles must be at least 1, not 0$"):
        Watchdog(0)


def test_expires_after_so_many_quiet_cycles():
    dut = Watchdog(7)

    async def quiet(ctx) -> int:
        cycles = 0
        while not ctx.get(dut.expired):
            await ctx.tick()
            cycles += 1
        return cycles

    async def bench(ctx):
        await ctx.tick().repeat(20)
        assert not ctx.get(dut.expired), "nothing runs"
        ctx.set(dut.running, 1)
        assert await quiet(ctx) == 7
        await ctx.tick().repeat(300)
        assert ctx.get(dut.expired), "stays"
        ctx.set(dut.progress, 1)
        await ctx.tick()
        assert not ctx.get(dut.expired)
        ctx.set(dut.progress, 0)
        await ctx.tick().repeat(6)
        ctx.set(dut.progress, 1)
        await ctx.tick()
        ctx.set(dut.progress, 0)
        assert await quiet(ctx) == 7

    simulate(dut, bench)
