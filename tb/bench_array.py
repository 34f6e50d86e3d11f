"""Bench of `SystolicArray`: random tiles, as close as can be, every sum compared in its cycle."""

import random

import cocotb
from cocotb.triggers import FallingEdge

from isa.config import ChipConfig
from rtl.array import row_layout, weight_layout
from tb.agents import reset
from tb.array_schedule import Schedule
from tb.coverage import Coverage
from tb.runner import bench_parameters

LAYOUTS = ("packed", "single", "transposed")
ROWS = ("1", "less than R", "R or more")


def _tiles(config: ChipConfig, count: int, cover: Coverage) -> list[tuple[int, str]]:
    """(M, layout) of so many tiles."""
    cover.point("tiles", {"before": LAYOUTS, "layout": LAYOUTS, "rows": ROWS})
    tiles = [(1, "packed")]
    for _ in range(count):
        rows, layout = random.choice(ROWS), random.choice(LAYOUTS)
        cover.hit("tiles", tiles[-1][1], layout, rows)
        m = {"1": 1, "less than R": random.randrange(2, config.rows)}.get(rows)
        tiles.append((m or config.rows + random.randrange(4), layout))
    return tiles


@cocotb.test()
async def tiles_follow_each_other(dut) -> None:
    parameters = bench_parameters()
    config = ChipConfig.from_dict(parameters["config"], "bench")
    cover = Coverage(f"array_{config.element}")
    tiles = _tiles(config, parameters["tiles"], cover)
    schedule = Schedule(config, tiles, parameters["seed"])
    row, weights = row_layout(config), weight_layout(config)
    sums = [getattr(dut, f"sums_{c}") for c in range(config.cols)]
    await reset(dut)
    for cycle in range(schedule.cycles):
        dut.row.value = row.const(schedule.row(cycle)).as_bits()
        dut.weights.value = weights.const(schedule.weights_in(cycle)).as_bits()
        for c, port in enumerate(sums):
            if (cycle, c) in schedule.sums:
                assert int(port.value) == schedule.sums[cycle, c], f"{cycle=} {c=}"
        await FallingEdge(dut.clk)
    cover.save()
