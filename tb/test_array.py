"""The systolic array as emitted, R = C and R ≠ C, all element types."""

import pytest

from isa.config import ChipConfig
from rtl.array import SystolicArray


@pytest.mark.parametrize(
    ("element", "rows", "cols"),
    [("bf16", 4, 4), ("bf16", 8, 4), ("bf16", 4, 8), ("fp8", 8, 4), ("int8", 4, 8)],
)
def test_tiles_follow_each_other(bench, seed: int, element: str, rows: int, cols: int) -> None:
    config = ChipConfig("bench", rows, cols, 4, 32, 1 << 14, 4, 64, 16, element)
    parameters = {"config": config.to_dict(), "tiles": 250, "seed": seed}
    assert bench(SystolicArray(config), "array", "tb.bench_array", parameters) == 1
