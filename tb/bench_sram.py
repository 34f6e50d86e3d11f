"""Bench of the SRAM macros: random cycles against their behavioural twins.

Parameters: `width`, `depth`, `cycles`, and `granule` for `Sram1RW` (absent for `Sram1R1W`).
"""

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from tb.runner import bench_parameters
from tb.sram_reference import Reference1R1W, Reference1RW, random_access, random_pair


@cocotb.test()
async def random_cycles(dut) -> None:
    """`rdata` follows the last read one cycle later and holds otherwise; rows start as zeros."""
    sizes = bench_parameters()
    cycles = sizes.pop("cycles")
    single = "granule" in sizes
    twin = Reference1RW(**sizes) if single else Reference1R1W(**sizes)
    stimulus = random_access if single else random_pair
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    await FallingEdge(dut.clk)
    for cycle in range(cycles):
        ports = stimulus(random, **sizes)
        for name, value in ports.items():
            getattr(dut, name).value = int(value)
        await FallingEdge(dut.clk)
        assert int(dut.rdata.value) == twin.cycle(**ports), f"cycle {cycle}: {ports}"
