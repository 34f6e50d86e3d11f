"""The emitted DMA engines."""

import pytest

from isa.config import ChipConfig
from rtl.dma_load import LoadDma
from rtl.dma_store import StoreDma
from tb.configs import bench_config

ENGINES = {"loads": LoadDma, "stores": StoreDma}


@pytest.mark.parametrize("direction", ENGINES)
@pytest.mark.parametrize(("axi_bytes", "stall"), [(8, 0.0), (8, 0.4), (16, 0.2)])
def test_random_copies(bench, simulator: str, direction: str, axi_bytes: int, stall: float) -> None:
    config = bench_config().replace(axi_bytes=axi_bytes)
    copies = 60 if simulator == "verilator" else 15
    parameters = {"copies": copies, "stall": stall, "rows": 0, "latency": 9}
    _run(bench, config, direction, parameters)


@pytest.mark.parametrize("direction", ENGINES)
def test_many_rows(bench, simulator: str, direction: str) -> None:
    """Counters of rows, and of bursts without a response, in all their bits."""
    rows = 50_000 if simulator == "verilator" else 300
    parameters = {"copies": 0, "stall": 0.0, "rows": rows}
    parameters["latency"] = 9 if direction == "loads" else 3 * rows
    _run(bench, bench_config(), direction, parameters)


def _run(bench, config: ChipConfig, direction: str, parameters: dict) -> None:
    parameters["config"] = config.to_dict()
    unit = ENGINES[direction](config)
    assert bench(unit, f"dma_{direction}", "tb.bench_dma", parameters, testcase=direction) == 1
