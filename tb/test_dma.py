"""The emitted DMA engines."""

import pytest

from rtl.dma_load import LoadDma
from rtl.dma_store import StoreDma
from tb.configs import bench_config

ENGINES = {"loads": LoadDma, "stores": StoreDma}


@pytest.mark.parametrize("direction", ENGINES)
@pytest.mark.parametrize(("axi_bytes", "stall"), [(8, 0.0), (8, 0.4), (16, 0.2)])
def test_random_copies(bench, simulator: str, direction: str, axi_bytes: int, stall: float) -> None:
    config = bench_config().replace(axi_bytes=axi_bytes)
    copies = 60 if simulator == "verilator" else 15
    parameters = {"config": config.to_dict(), "copies": copies, "stall": stall}
    unit = ENGINES[direction](config)
    assert bench(unit, f"dma_{direction}", "tb.bench_dma", parameters, testcase=direction) == 1
