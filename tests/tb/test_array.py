"""The systolic array as emitted, on both simulators, R = C and R ≠ C."""

import pytest

from isa.config import ChipConfig
from rtl.array import SystolicArray
from tb.runner import run_bench


@pytest.mark.parametrize(("rows", "cols"), [(4, 4), (8, 4), (4, 8)])
def test_tiles_follow_each_other(simulator: str, rows: int, cols: int) -> None:
    config = ChipConfig("bench", rows, cols, 4, 32, 1 << 14, 4, 64, 16)
    parameters = {"config": config.to_dict(), "repeat": 3, "seed": rows + 2 * cols}
    array = SystolicArray(config)
    ran = run_bench(array, "array", "tb.bench_array", simulator, parameters=parameters)
    assert ran == 1
