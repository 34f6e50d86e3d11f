"""The emitted special functions."""

import pytest

from rtl.special import SpecialFunctions


@pytest.mark.parametrize("pause", [0.0, 0.4])
def test_all_classes(bench, simulator: str, pause: float) -> None:
    sets = 3000 if simulator == "verilator" else 400
    parameters = {"lanes": 3, "sets": sets, "pause": pause}
    assert bench(SpecialFunctions(3), "special", "tb.bench_special", parameters) == 1
