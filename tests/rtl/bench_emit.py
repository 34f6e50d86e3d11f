"""Benches of the components in test_emit.py."""

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, Timer


@cocotb.test()
async def known_before_the_clock(dut) -> None:
    """An output that depends on registers only has its value at time 0, before any edge."""
    await Timer(1, "ns")
    assert int(dut.o.value) == 0xA5 ^ 0xFF


@cocotb.test()
async def pairs_add(dut) -> None:
    """Each of the cells adds its own pair of bytes, one cycle later."""
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.rst.value = 0
    await FallingEdge(dut.clk)  # the clock's first edge comes before the first inputs
    for _ in range(50):
        a, b = random.randbytes(3), random.randbytes(3)
        dut.a.value, dut.b.value = int.from_bytes(a, "little"), int.from_bytes(b, "little")
        await FallingEdge(dut.clk)
        sums = bytes((x + y) & 0xFF for x, y in zip(a, b, strict=True))
        assert int(dut.o.value) == int.from_bytes(sums, "little")
