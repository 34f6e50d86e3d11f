"""The processing element as emitted."""

import pytest

from isa.config import ELEMENTS
from rtl.pe import ProcessingElement


@pytest.mark.parametrize("element", ELEMENTS)
def test_random_traffic(bench, element: str) -> None:
    parameters = {"element": element, "cycles": 3000}
    assert bench(ProcessingElement(element), "pe", "tb.bench_pe", parameters) == 1
