"""Bench of an HBM controller, or of all of a chip's, driven by cocotbext-axi's AXI4 master.

Parameters: `generation`, `mapping`, `channels`, `names` (of the device ports), `accesses`, `most`
(under way), `stall`.
"""

import random

import cocotb
from cocotb.triggers import FallingEdge

from isa.hbm import COLUMN_BYTES
from isa.hbm_map import HbmMap
from tb.agents import shake
from tb.axi_traffic import Traffic
from tb.coverage import Coverage
from tb.hbm_chips import generation_of
from tb.hbm_devices import Devices
from tb.memory_agents import PAGE_BYTES
from tb.runner import bench_parameters

_DRAIN = 100  # cycles from the last response until its data are in the device


@cocotb.test()
async def random_accesses(dut) -> None:
    """Every read gives what was written; in the end the devices hold it, and nothing else."""
    sizes = bench_parameters()
    mapping = HbmMap(sizes["mapping"], generation_of(sizes["generation"]), sizes["channels"])
    memory = bytearray(random.randbytes(mapping.bytes))
    cover = Coverage("hbm_axi")
    await shake(dut)
    dut.rst.value = 1
    traffic = Traffic(dut, memory, cover, sizes["stall"])
    devices = Devices(dut, mapping, sizes["names"], bytes(memory))
    limit = mapping.bytes - 5 * PAGE_BYTES
    dut.memory_columns.value = limit // COLUMN_BYTES
    for _ in range(3):
        await FallingEdge(dut.clk)
    dut.rst.value = 0
    devices.start()
    await traffic.run(sizes["accesses"], sizes["most"], limit)
    for _ in range(_DRAIN):
        await FallingEdge(dut.clk)
    assert int(dut.idle.value)
    assert devices.content() == memory
    cover.save()
