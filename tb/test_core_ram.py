"""The emitted core at cocotbext-axi's memory; on Icarus only, as `test_hbm_axi` says."""

from pathlib import Path

import pytest

from isa.image import ProgramImage, save_image
from rtl.top import Core
from sim.fuzz_maker import ProgramMaker, random_memory
from tb.test_core import CONFIG


@pytest.mark.only("icarus")
@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_core_runs_a_program(bench, seed: int, tmp_path: Path, stall: float) -> None:
    ops = ProgramMaker(CONFIG, seed).program(3)
    parameters = {"image": str(tmp_path / "program.jx"), "stall": stall}
    image = ProgramImage.from_ops(CONFIG, ops, hbm=random_memory(ops, seed))
    save_image(image, parameters["image"])
    assert bench(Core(CONFIG), "Core", "tb.bench_core_ram", parameters) == 1
