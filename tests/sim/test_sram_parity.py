"""Parity of the SRAM on the whole chip: programs that run, bits that are turned over."""

from dataclasses import replace

import numpy as np
import pytest

from isa.config import load_config
from isa.program import Op, encode_program
from isa.traps import Cause
from sim.errors import Trap
from sim.fuzz import make_program
from sim.fuzz_case import compare
from sim.rtl import RtlCore
from tests.support import rng

CHIP = load_config(
    "tiny,hbm=,sram_ecc=parity,rows=4,cols=4,lanes=4,line_bytes=16,axi_bytes=8,"
    "sram_bytes=32768,sram_banks=2,acc_rows=64"
)
ROW = 64  # bytes that the program below stores, from SRAM address 0x100 on


@pytest.fixture(scope="module")
def chip() -> RtlCore:
    return RtlCore(CHIP)


@pytest.mark.parametrize("seed", range(8))
def test_random_programs_see_no_error(seed: int):
    """Contents that the host writes, lines written in part: parity is always right."""
    _, case = make_program(CHIP, seed, illegal=False)
    assert compare(replace(case, config=CHIP)) is None


def _store(chip: RtlCore, flips: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    chip.sram = content = rng(4).integers(0, 256, CHIP.sram_bytes, np.uint8)
    for address, bit in flips:
        chip.flip_sram(address, bit)
    ops = [Op("store", {"hbm": 16, "sram": 0x100, "rows": 1, "bytes": ROW}), Op("halt")]
    memory = np.zeros(1 << 12, np.uint8)
    code = encode_program(ops)
    memory[: len(code)] = np.frombuffer(code, np.uint8)
    chip.run(memory, 0, len(ops))
    return memory[1024 : 1024 + ROW], content[0x100 : 0x100 + ROW]


@pytest.mark.parametrize("address", [0x100, 0x107, 0x11C, 0x13F])
@pytest.mark.parametrize("bit", [0, 5, 7])
def test_a_wrong_bit_traps(chip, address: int, bit: int):
    with pytest.raises(Trap, match=r"a line of the SRAM has a wrong parity at 0x100$") as caught:
        _store(chip, [(address, bit)])
    assert caught.value.cause == Cause.SRAM_ERROR


def test_what_parity_does_not_see(chip):
    """Lines that nobody reads, and two wrong bits of a granule."""
    stored, content = _store(chip, [(0x0FF, 1), (0x140, 1)])
    np.testing.assert_array_equal(stored, content)
    stored, content = _store(chip, [(0x120, 1), (0x123, 4)])
    assert np.flatnonzero(stored != content).tolist() == [0x20, 0x23]


def test_what_is_not_there_is_not_turned(chip):
    for address, bit in ((CHIP.sram_bytes, 0), (-1, 0), (0, 8)):
        with pytest.raises(ValueError, match="must lie in the SRAM"):
            chip.flip_sram(address, bit)
