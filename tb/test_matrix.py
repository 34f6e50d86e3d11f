"""The matrix unit as emitted: every element type; R < C, R = C and R > C; tiles shorter than a
block of scales, as long and longer."""

import pytest

from isa.config import ChipConfig
from rtl.matrix import MatrixUnit


@pytest.mark.parametrize(
    ("element", "rows", "cols", "line_bytes", "rounds"),
    [("bf16", 8, 4, 32, 3), ("bf16", 32, 4, 64, 2), ("fp8", 4, 8, 64, 3), ("int8", 8, 8, 16, 8)],
)
def test_random_products(
    bench, simulator: str, element: str, rows: int, cols: int, line_bytes: int, rounds: int
) -> None:
    config = ChipConfig(
        name="bench",
        rows=rows,
        cols=cols,
        lanes=4,
        line_bytes=line_bytes,
        sram_bytes=1 << 16,
        sram_banks=4,
        acc_rows=512,
        axi_bytes=16,
        element=element,
    )
    parameters = {"config": config.to_dict(), "rounds": rounds if simulator == "verilator" else 1}
    assert bench(MatrixUnit(config), "matrix", "tb.bench_matrix", parameters) == 1
