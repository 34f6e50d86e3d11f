"""SystolicArray by itself: tiles loaded both ways, at the closest times its docstring allows."""

import pytest

from isa.config import ChipConfig
from rtl.array import SystolicArray
from tb.array_schedule import Schedule
from tests.support import simulate


def _config(rows: int, cols: int, line_bytes: int, element: str) -> ChipConfig:
    return ChipConfig("test", rows, cols, 4, line_bytes, 1 << 14, 4, 64, 16, element)


@pytest.mark.parametrize(
    ("element", "rows", "cols", "line_bytes"),
    [
        ("bf16", 4, 4, 16),
        ("bf16", 4, 8, 32),
        ("bf16", 8, 4, 32),
        ("bf16", 8, 8, 32),
        ("fp8", 8, 4, 16),
        ("int8", 4, 8, 32),
        ("int8", 8, 4, 16),
    ],
)
@pytest.mark.parametrize("layouts", ["packed", "single", "transposed", "mixed"])
def test_tiles_follow_each_other(
    element: str, rows: int, cols: int, line_bytes: int, layouts: str
) -> None:
    config = _config(rows, cols, line_bytes, element)
    schedule = Schedule(config, Schedule.tiles(rows, layouts), seed=rows + cols)
    dut = SystolicArray(config)

    async def bench(ctx) -> None:
        for cycle in range(schedule.cycles):
            ctx.set(dut.row, schedule.row(cycle))
            ctx.set(dut.weights, schedule.weights_in(cycle))
            for c in range(cols):
                if (cycle, c) in schedule.sums:
                    assert ctx.get(dut.sums[c]) == schedule.sums[cycle, c], f"{cycle=} {c=}"
            await ctx.tick()

    simulate(dut, bench)
