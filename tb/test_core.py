"""The emitted core behind an AXI memory that stalls at random."""

from isa.config import load_config
from isa.image import ProgramImage, save_image
from rtl.top import Core
from sim.fuzz_maker import ProgramMaker, random_memory

CONFIG = load_config("tiny").replace(
    name="bench",
    rows=4,
    cols=4,
    lanes=4,
    line_bytes=16,
    axi_bytes=8,
    sram_bytes=1 << 14,
    sram_banks=2,
    acc_rows=128,
    watchdog_cycles=1024,
)


def test_core_runs_random_programs(bench, simulator: str, seed: int, tmp_path) -> None:
    ops = ProgramMaker(CONFIG, seed).program(30 if simulator == "verilator" else 3)
    parameters = {"image": str(tmp_path / "program.jx"), "stall": 0.2, "latency": 6}
    image = ProgramImage.from_ops(CONFIG, ops, hbm=random_memory(ops, seed))
    save_image(image, parameters["image"])
    assert bench(Core(CONFIG), "Core", "tb.bench_core", parameters) == 5
