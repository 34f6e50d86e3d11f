"""The emitted vector unit on both simulators."""

from isa.config import load_config
from rtl.vector import VectorUnit
from tb.runner import run_bench


def test_random_instructions(simulator: str) -> None:
    config = load_config("tiny").replace(sram_bytes=1 << 13, acc_rows=64)
    sizes = {
        "config": config.to_dict(),
        "commands": 1300 if simulator == "verilator" else 65,
        "refusal": 0.2,
        "outliers": 0.1,
    }
    unit = VectorUnit(config)
    assert run_bench(unit, "vector", "tb.bench_vector", simulator, seed=9, parameters=sizes) == 1
