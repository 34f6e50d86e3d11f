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
    copies = 80 if simulator == "verilator" else 25
    latency = 9 if direction == "loads" else 40  # until stores have to wait for responses
    parameters = {"copies": copies, "stall": stall, "rows": 0, "planes": 0, "latency": latency}
    _run(bench, config, direction, parameters)


@pytest.mark.parametrize("direction", ENGINES)
@pytest.mark.parametrize("axi_bytes", [4, 128])
def test_narrow_and_wide_beats(bench, simulator: str, direction: str, axi_bytes: int) -> None:
    """Beats of half a granule of the SRAM, and of two atoms: rows begin in either half."""
    narrow = {"cols": 8, "lanes": 8, "line_bytes": 32, "burst_beats": 32}
    wide = {"line_bytes": 128, "sram_bytes": 1 << 17}
    config = bench_config().replace(axi_bytes=axi_bytes, **(narrow if axi_bytes == 4 else wide))
    copies = 40 if simulator == "verilator" else 10
    parameters = {"copies": copies, "stall": 0.2, "rows": 0, "planes": 0, "latency": 9}
    _run(bench, config, direction, parameters)


@pytest.mark.parametrize("direction", ENGINES)
@pytest.mark.parametrize("many", ["rows", "planes"])
def test_many_rows(bench, simulator: str, direction: str, many: str) -> None:
    """Counters of rows and planes in all their bits."""
    fast = simulator == "verilator"
    most = {"rows": 50_000 if fast else 300, "planes": 8191 if fast else 99}
    latency = 9 if direction == "loads" else 24  # of more bursts than may be unanswered
    parameters = {"copies": 0, "stall": 0.0, "rows": 3, "planes": 1, "latency": latency}
    _run(bench, bench_config(), direction, parameters | {many: most[many]})


def _run(bench, config: ChipConfig, direction: str, parameters: dict) -> None:
    parameters["config"] = config.to_dict()
    unit = ENGINES[direction](config)
    assert bench(unit, f"dma_{direction}", "tb.bench_dma", parameters, testcase=direction) == 1
