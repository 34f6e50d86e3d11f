"""The emitted dispatchers and semaphores."""

import pytest

from tb.configs import bench_config
from tb.dispatch_system import DispatchSystem


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_items_wait_and_signal(bench, simulator: str, stall: float) -> None:
    config = bench_config()
    items = 1600 if simulator == "verilator" else 640
    parameters = {"items": items, "stall": stall, "depth": config.queue_depth}
    assert bench(DispatchSystem(config), "dispatch", "tb.bench_dispatch", parameters) == 1
