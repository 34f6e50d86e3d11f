"""The emitted multiplexers of the memory port."""

import pytest

from rtl.axi_mux import ReadMux, WriteMux
from tb.configs import bench_config

SIDES = {"reads": ReadMux, "writes": WriteMux}


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("stall", [0.0, 0.2, 0.7])
def test_random_bursts(bench, simulator: str, side: str, stall: float) -> None:
    config = bench_config()
    bursts = 400 if simulator == "verilator" else 80
    parameters = {"config": config.to_dict(), "bursts": bursts, "stall": stall}
    unit, top = SIDES[side](config), f"mux_{side}"
    assert bench(unit, top, "tb.bench_axi_mux", parameters, testcase=side) == 1
