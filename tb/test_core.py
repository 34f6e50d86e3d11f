"""The emitted core behind an AXI memory that stalls at random."""

from isa.image import ProgramImage, save_image
from rtl.top import Core
from sim.fuzz_maker import ProgramMaker, random_memory
from tb.configs import bench_config

# Room for the programs' products; a deadlock is found out soon.
CONFIG = bench_config().replace(acc_rows=128, watchdog_cycles=1024)


def test_core_runs_random_programs(bench, simulator: str, seed: int, tmp_path) -> None:
    ops = ProgramMaker(CONFIG, seed).program(30 if simulator == "verilator" else 3)
    parameters = {"image": str(tmp_path / "program.jx"), "stall": 0.2, "latency": 6}
    image = ProgramImage.from_ops(CONFIG, ops, hbm=random_memory(ops, seed))
    save_image(image, parameters["image"])
    assert bench(Core(CONFIG), "Core", "tb.bench_core", parameters) == 5
