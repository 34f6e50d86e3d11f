"""The emitted core on both simulators, behind an AXI memory that stalls at random."""

from isa.config import load_config
from isa.image import ProgramImage, save_image
from rtl.top import Core
from tb.runner import run_bench
from tests.random_programs import ProgramMaker, random_memory

CONFIG = load_config("tiny").replace(
    name="bench",
    rows=4,
    cols=4,
    lanes=4,
    line_bytes=16,
    axi_bytes=8,
    sram_bytes=1 << 14,
    sram_banks=2,
    acc_rows=64,
)


def test_core_runs_random_programs(simulator: str, tmp_path) -> None:
    ops = ProgramMaker(CONFIG, seed=6).program(12 if simulator == "verilator" else 3)
    sizes = {
        "image": str(tmp_path / "program.jx"),
        "stall": 0.2,
        "latency": 6,
    }
    image = ProgramImage.from_ops(CONFIG, ops, hbm=random_memory(ops, seed=6))
    save_image(image, sizes["image"])
    ran = run_bench(Core(CONFIG), "Core", "tb.bench_core", simulator, seed=4, parameters=sizes)
    assert ran == 2
