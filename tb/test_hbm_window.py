"""The emitted window of an HBM scheduler."""

import pytest

from rtl.hbm_window import Window
from tb.hbm_chips import small_generation, to_parameters


@pytest.mark.parametrize(("depth", "patience"), [(8, 30), (4, 9)])
def test_window(bench, simulator: str, depth: int, patience: int) -> None:
    generation, tag_bits = small_generation(), 5
    cycles = {"verilator": 8000, "icarus": 2500}[simulator]
    parameters = {"generation": to_parameters(generation), "depth": depth, "tag_bits": tag_bits}
    parameters |= {"patience": patience, "cycles": cycles}
    unit = Window(generation, depth, tag_bits, patience)
    assert bench(unit, "hbm_window", "tb.bench_hbm_window", parameters) == 1
