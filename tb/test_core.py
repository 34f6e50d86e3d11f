"""The emitted core behind an AXI memory that stalls at random."""

from isa.image import ProgramImage, save_image
from rtl.top import Core
from sim.fuzz_maker import ProgramMaker, random_memory
from tb.configs import bench_config

# Room for the programs' products; a deadlock is found out soon.
CONFIG = bench_config().replace(acc_rows=128, watchdog_cycles=1024)


def test_core_runs_random_programs(bench, simulator: str, seed: int, tmp_path) -> None:
    """Each from a core that has just begun, whose SRAM is empty as the functional simulator's."""
    core, ran, programs = Core(CONFIG), 0, 6 if simulator == "verilator" else 1
    for number in range(programs):
        ops = ProgramMaker(CONFIG, seed * programs + number).program(30 if programs > 1 else 3)
        parameters = {"image": str(tmp_path / f"{number}.jx"), "stall": 0.2, "latency": 6}
        image = ProgramImage.from_ops(CONFIG, ops, hbm=random_memory(ops, seed))
        save_image(image, parameters["image"])
        only = "program_agrees_twice" if number else None
        ran += bench(core, "Core", "tb.bench_core", parameters, testcase=only)
    assert ran == 6 + programs - 1
