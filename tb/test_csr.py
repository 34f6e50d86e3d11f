"""The host's registers alone, and a chip that a host runs."""

from isa.image import ProgramImage, save_image
from rtl.chip import Chip
from rtl.csr import ControlRegisters
from sim.fuzz_maker import ProgramMaker, random_memory
from tb.test_core import CONFIG


def test_registers(bench) -> None:
    parameters = {"digest": CONFIG.digest()}
    assert bench(ControlRegisters(CONFIG), "registers", "tb.bench_csr", parameters) == 4


def test_host_runs_a_chip(bench, simulator: str, seed: int, tmp_path) -> None:
    ops = ProgramMaker(CONFIG, seed).program(6 if simulator == "verilator" else 2)
    parameters = {"image": str(tmp_path / "program.jx")}
    image = ProgramImage.from_ops(CONFIG, ops, hbm=random_memory(ops, seed))
    save_image(image, parameters["image"])
    assert bench(Chip(CONFIG), "Chip", "tb.bench_chip", parameters) == 1
