"""A bench with every outcome, for the tests of the runner itself."""

import os
import random

import cocotb
from cocotb.triggers import Timer

from tb.runner import bench_parameters


@cocotb.test()
async def passes(dut) -> None:
    await Timer(1, "ns")


@cocotb.test()
async def fails(dut) -> None:
    await Timer(1, "ns")
    assert int(dut.rdata.value) == 1, "the reason"


@cocotb.test()
async def crashes(dut) -> None:
    os._exit(3)


@cocotb.test()
async def hangs(dut) -> None:
    while True:
        pass


@cocotb.test()
async def sees_parameters(dut) -> None:
    await Timer(1, "ns")
    expected = random.Random(bench_parameters()["seed"])
    assert random.getrandbits(32) != expected.getrandbits(31)
    assert bench_parameters()["words"] == ["a", "b"]
