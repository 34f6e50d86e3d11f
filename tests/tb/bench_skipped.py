"""A bench whose only test is skipped."""

import cocotb
from cocotb.triggers import Timer


@cocotb.test(skip=True)
async def is_skipped(dut) -> None:
    await Timer(1, "ns")
