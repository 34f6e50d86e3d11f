"""The emitted banked SRAM."""

import pytest

from rtl.sram import BankedSram
from tb.configs import bench_config


@pytest.mark.parametrize(("banks", "idle"), [(2, 0.7), (2, 0.2), (8, 0.3)])
def test_random_accesses(bench, simulator: str, banks: int, idle: float) -> None:
    config = bench_config().replace(sram_banks=banks)
    cycles = 4000 if simulator == "verilator" else 1200
    parameters = {"config": config.to_dict(), "cycles": cycles, "idle": idle}
    assert bench(BankedSram(config), "banks", "tb.bench_banks", parameters) == 1
