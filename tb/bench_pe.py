"""Bench of `ProcessingElement`: random values of every kind against `isa.numbers`."""

import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from isa import numbers
from tb.runner import bench_parameters

SPECIAL = (0, 0x8000, 1, 0x0080, 0x7F7F, 0x7F80, 0xFF80, 0x7FC0, 0x7F81, 0x3F80, 0xBF80)


def _bf16() -> int:
    return random.choice([random.choice(SPECIAL), random.getrandbits(16), random.getrandbits(14)])


def _next_sum(last: int) -> int:
    """Anything, or what nearly cancels the last product."""
    nearby = last ^ 1 << 31 ^ random.getrandbits(random.choice([1, 8, 24]))
    return random.choice([random.getrandbits(32), nearby, _bf16() << 16])


@cocotb.test()
async def random_traffic(dut) -> None:
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.rst.value = 1
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    weight = shadow = _bf16()
    product = 0
    for cycle in range(bench_parameters()["cycles"]):
        activation, normal, transposed = _bf16(), _bf16(), _bf16()
        down, across = random.random() < 0.4, random.random() < 0.2
        swap, addend = cycle == 1 or random.random() < 0.4, _next_sum(product)
        if cycle == 0 and not across:  # so that neither weight is what was left from before
            down, normal = True, shadow
        dut.a_i.value, dut.swap_i.value, dut.sum_i.value = activation, swap, addend
        dut.load_normal.value, dut.normal.value = down, normal
        dut.load_transposed.value, dut.transposed.value = across, transposed
        await FallingEdge(dut.clk)
        assert (int(dut.a_o.value), int(dut.swap_o.value)) == (activation, swap)
        if cycle > 2:
            a, b = np.array([addend, product], np.uint32).view(np.float32)
            want = int(numbers.add(a, b).view(np.uint32))
            assert int(dut.sum_o.value) == want, f"{addend:#x} + {product:#x}"
        weight = shadow if swap else weight
        pair = numbers.from_bf16(np.array([activation, weight], np.uint16))
        product = int(numbers.mul(*pair).view(np.uint32))
        if down or across:
            shadow = transposed if across else normal
