"""The emitted accumulators, of floats and of integers."""

import pytest

from rtl.accumulator import Accumulators
from tb.configs import bench_config


@pytest.mark.parametrize(("element", "rest"), [("bf16", 0.3), ("bf16", 0.8), ("int8", 0.6)])
def test_tiles_and_reads(bench, simulator: str, element: str, rest: float) -> None:
    config = bench_config().replace(element=element)
    cycles = 4000 if simulator == "verilator" else 800
    parameters = {"config": config.to_dict(), "cycles": cycles, "rest": rest}
    assert bench(Accumulators(config), "accumulators", "tb.bench_accumulator", parameters) == 1
