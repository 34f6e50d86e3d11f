"""The emitted guard of an HBM scheduler."""

import pytest

from rtl.hbm_guard import Guard
from tb.hbm_chips import small_generation, to_parameters


@pytest.mark.parametrize("name", ["hbm3", "hbm4"])
def test_guard(bench, simulator: str, name: str) -> None:
    generation = small_generation(name)
    cycles = {"verilator": 20_000, "icarus": 6000}[simulator]
    parameters = {"generation": to_parameters(generation), "cycles": cycles}
    assert bench(Guard(generation), "hbm_guard", "tb.bench_hbm_guard", parameters) == 1
