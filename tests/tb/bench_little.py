"""Drives the little design of the tests of dumps and of line coverage."""

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from isa.table import BY_MNEMONIC
from tb.runner import bench_parameters

ROW_BITS = 4


@cocotb.test()
async def drives_rows(dut) -> None:
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.rst.value = 0
    opcode = BY_MNEMONIC["matmul"].opcode << ROW_BITS
    for row in bench_parameters().get("rows", [0, 3, 15, 0]):
        dut.place.value = opcode | row
        await FallingEdge(dut.clk)
        await FallingEdge(dut.clk)
