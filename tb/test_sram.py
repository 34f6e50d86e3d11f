"""The emitted SRAM macros."""

import pytest

from rtl.memory import Sram1R1W, Sram1RW


@pytest.mark.parametrize(("width", "depth", "granule"), [(32, 20, 8), (72, 64, 72)])
def test_single_port(bench, width: int, depth: int, granule: int) -> None:
    sizes = {"width": width, "depth": depth, "granule": granule, "cycles": 600}
    assert bench(Sram1RW(width, depth, granule), "ram", "tb.bench_sram", sizes) == 1


@pytest.mark.parametrize(("width", "depth"), [(33, 21), (128, 32)])
def test_two_ports(bench, width: int, depth: int) -> None:
    sizes = {"width": width, "depth": depth, "cycles": 600}
    assert bench(Sram1R1W(width, depth), "ram", "tb.bench_sram", sizes) == 1


def test_rows_are_visible_when_public(bench) -> None:
    public = [("jx_sram", "mem")]
    assert bench(Sram1RW(16, 8, 8), "ram", "tests.tb.bench_backdoor", {}, public=public) == 1
