"""A bench that writes a row through the port and reads it inside the macro, and the reverse."""

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge


@cocotb.test()
async def rows_are_visible(dut) -> None:
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    await FallingEdge(dut.clk)
    dut.en.value, dut.we.value, dut.addr.value, dut.wdata.value = 1, 0b11, 3, 0xBEEF
    await FallingEdge(dut.clk)
    assert int(dut.macro.mem[3].value) == 0xBEEF
    dut.macro.mem[2].value = 0x1234
    dut.we.value, dut.addr.value = 0, 2
    await FallingEdge(dut.clk)
    assert int(dut.rdata.value) == 0x1234
