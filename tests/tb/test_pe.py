"""The processing element as emitted, on both simulators."""

from rtl.pe import ProcessingElement
from tb.runner import run_bench


def test_random_traffic(simulator: str) -> None:
    pe = ProcessingElement()
    parameters = {"cycles": 3000}
    assert run_bench(pe, "pe", "tb.bench_pe", simulator, seed=3, parameters=parameters) == 1
