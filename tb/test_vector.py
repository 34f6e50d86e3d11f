"""The emitted vector unit."""

import pytest

from isa.config import load_config
from rtl.vector import VectorUnit


@pytest.mark.parametrize("element", ["bf16", "int8"])
def test_random_instructions(bench, simulator: str, element: str) -> None:
    """On Verilator, each combination of types at least once."""
    config = load_config("tiny").replace(sram_bytes=1 << 13, acc_rows=64, element=element)
    parameters = {
        "config": config.to_dict(),
        "commands": 1300 if simulator == "verilator" else 65,
        "refusal": 0.2,
        "outliers": 0.1,
    }
    assert bench(VectorUnit(config), "vector", "tb.bench_vector", parameters) == 1


def test_long_instructions(bench, simulator: str) -> None:
    """Walkers' counters in all their bits; on Icarus those of operands in the SRAM."""
    config = load_config("tiny").replace(sram_bytes=1 << 13, acc_rows=64)
    parameters = {"config": config.to_dict(), "commands": 0, "refusal": 0.0, "outliers": 0.1}
    parameters["longest"] = simulator == "verilator"
    assert bench(VectorUnit(config), "vector", "tb.bench_vector", parameters) == 1
