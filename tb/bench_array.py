"""Bench of `SystolicArray`: a schedule of tiles, every sum compared in its cycle."""

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge

from isa.config import ChipConfig
from rtl.array import row_layout, weight_layout
from tb.array_schedule import Schedule
from tb.runner import bench_parameters


@cocotb.test()
async def tiles_follow_each_other(dut) -> None:
    parameters = bench_parameters()
    config = ChipConfig.from_dict(parameters["config"], "bench")
    tiles = Schedule.tiles(config.rows, "mixed") * parameters["repeat"]
    schedule = Schedule(config, tiles, parameters["seed"])
    row, weights = row_layout(config), weight_layout(config)
    sums = [getattr(dut, f"sums_{c}") for c in range(config.cols)]
    cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    dut.rst.value = 1
    await FallingEdge(dut.clk)
    dut.rst.value = 0
    for cycle in range(schedule.cycles):
        dut.row.value = row.const(schedule.row(cycle)).as_bits()
        dut.weights.value = weights.const(schedule.weights_in(cycle)).as_bits()
        for c, port in enumerate(sums):
            if (cycle, c) in schedule.sums:
                assert int(port.value) == schedule.sums[cycle, c], f"{cycle=} {c=}"
        await FallingEdge(dut.clk)
