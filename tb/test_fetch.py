"""The emitted fetch, with beats smaller than, as large as and larger than an instruction."""

import pytest

from rtl.fetch import Fetch
from tb.configs import bench_config


@pytest.mark.parametrize(
    ("axi_bytes", "stall", "latency"), [(8, 0.2, 9), (32, 0.0, 40), (64, 0.4, 3)]
)
def test_random_walks(bench, simulator: str, axi_bytes: int, stall: float, latency: int) -> None:
    config = bench_config().replace(line_bytes=64, axi_bytes=axi_bytes)
    walks = 40 if simulator == "verilator" else 12
    parameters = {"config": config.to_dict(), "walks": walks, "stall": stall, "latency": latency}
    assert bench(Fetch(config), "fetch", "tb.bench_fetch", parameters) == 1
