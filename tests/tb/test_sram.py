"""The emitted SRAM macros on both simulators."""

import pytest

from rtl.memory import Sram1R1W, Sram1RW
from tb.runner import run_bench


@pytest.mark.parametrize(("width", "depth", "granule"), [(32, 20, 8), (72, 64, 72)])
def test_single_port(simulator: str, width: int, depth: int, granule: int) -> None:
    sizes = {"width": width, "depth": depth, "granule": granule, "cycles": 600}
    sram = Sram1RW(width, depth, granule)
    assert run_bench(sram, "ram", "tb.bench_sram", simulator, seed=7, parameters=sizes) == 1


@pytest.mark.parametrize(("width", "depth"), [(33, 21), (128, 32)])
def test_two_ports(simulator: str, width: int, depth: int) -> None:
    sizes = {"width": width, "depth": depth, "cycles": 600}
    sram = Sram1R1W(width, depth)
    assert run_bench(sram, "ram", "tb.bench_sram", simulator, seed=8, parameters=sizes) == 1


def test_rows_are_visible_when_public(simulator: str) -> None:
    public = [("jx_sram", "mem")]
    bench = "tests.tb.bench_backdoor"
    assert run_bench(Sram1RW(16, 8, 8), "ram", bench, simulator, public=public) == 1
