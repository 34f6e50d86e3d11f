"""Bench of the SRAM macros: random cycles against their behavioural twins.

Parameters: `width`, `depth`, `cycles`, and `granule` for `Sram1RW` (absent for `Sram1R1W`).
"""

import random

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from tb.coverage import Coverage
from tb.runner import bench_parameters
from tb.sram_reference import (
    Reference1R1W,
    Reference1RW,
    classify_access,
    classify_pair,
    random_access,
    random_pair,
)

_PLACES = ["inside", "beyond depth"]
_ACCESSES = ["idle", "read", "write", "partial write", "read of what was just written"]
_PAIRS = ["none", "read", "write", "both", "both, same row"]


@cocotb.test()
async def random_cycles(dut) -> None:
    """`rdata` follows the last read one cycle later and holds otherwise; rows start as zeros."""
    sizes = bench_parameters()
    cycles = sizes.pop("cycles")
    single = "granule" in sizes
    twin = Reference1RW(**sizes) if single else Reference1R1W(**sizes)
    stimulus = random_access if single else random_pair
    cover = Coverage("sram" if single else "sram_1r1w")
    cover.point("access", {"ports": _ACCESSES if single else _PAIRS, "address": _PLACES})
    classify = classify_access if single else classify_pair
    before: dict[str, int] = {}
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    await FallingEdge(dut.clk)
    for cycle in range(cycles):
        ports = stimulus(random, **sizes)
        for name, value in ports.items():
            getattr(dut, name).value = int(value)
        await FallingEdge(dut.clk)
        assert int(dut.rdata.value) == twin.cycle(**ports), f"cycle {cycle}: {ports}"
        cover.hit("access", *classify(ports, before, sizes))
        before = ports
    cover.save()
