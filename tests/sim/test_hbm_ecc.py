"""SECDED: the code, the controller that writes parts of words, and faults on the whole chip."""

from itertools import combinations

import numpy as np
import pytest

from isa.config import load_config
from isa.hbm import load_generation
from isa.hbm_map import DEFAULT_MAP, HbmMap
from isa.program import Op, Reg, encode_program
from isa.secded import CHECK_BITS, COLUMNS, WORD_BITS, masks
from isa.traps import Cause
from sim.errors import Trap
from sim.hbm_traffic import REQUEST, HbmTraffic
from sim.rtl import HbmFault, RtlCore
from tests.support import rng

TINY = load_config("tiny")
DATA = 0x4000  # of the programs below
ROW = 512


def test_two_errors_are_never_taken_for_one():
    singles = [*COLUMNS, *(1 << bit for bit in range(CHECK_BITS))]
    assert len(set(singles)) == WORD_BITS + CHECK_BITS
    assert 0 not in singles
    doubles = {one ^ other for one, other in combinations(singles, 2)}
    assert not doubles & {0, *singles}
    word = 0x0123456789ABCDEF
    syndrome = sum((bin(word & mask).count("1") & 1) << bit for bit, mask in enumerate(masks()))
    columns = [column for bit, column in enumerate(COLUMNS) if word >> bit & 1]
    assert syndrome == np.bitwise_xor.reduce(columns)


def test_parts_of_words_are_written():
    """The device refuses words that are written in part, and wrong check bits."""
    traffic = HbmTraffic(HbmMap(DEFAULT_MAP, load_generation("hbm3"), 1), ecc=True)
    dice = rng(8)
    requests = np.zeros(4000, REQUEST)
    beats = dice.integers(1, 9, len(requests))
    requests["address"] = dice.integers(0, 8, len(requests)) * 4096 + 16 * dice.integers(
        0, 256 - beats
    )
    requests["beats"] = beats
    requests["write"] = dice.integers(0, 2, len(requests))
    requests["partial"] = dice.random(len(requests)) < 0.3
    requests["id"] = dice.integers(0, 2, len(requests))
    traffic.run(requests, 1 << 20, stall=200, seed=9)


@pytest.fixture(scope="module")
def chip() -> RtlCore:
    return RtlCore(TINY)


def _run(chip: RtlCore, *ops: Op, faults: tuple[HbmFault, ...] = ()):
    memory = rng(3).integers(0, 256, 1 << 16, np.uint8)
    code = encode_program([*ops, Op("halt")])
    memory[: len(code)] = np.frombuffer(code, np.uint8)
    before = memory.copy()
    try:
        result = chip.run(memory, 0, len(ops) + 1, faults=faults)
    except Trap as trap:
        return before, memory, trap
    return before, memory, result


_LOAD = Op("load", {"hbm": DATA // 64, "rows": 1, "bytes": ROW})


@pytest.mark.parametrize("bit", range(16))
def test_single_errors_are_corrected_and_counted(chip, bit):
    """Of data (bits 0 to 7) and of check bits, in three words, one of them each time it is read."""
    faults = [HbmFault(DATA + at, bit) for at in (0, 13, ROW - 1)]
    faults.append(HbmFault(DATA + 100, 15 - bit, stuck=True))
    before, memory, result = _run(chip, _LOAD, faults=tuple(faults))
    np.testing.assert_array_equal(chip.sram[:ROW], before[DATA : DATA + ROW])
    np.testing.assert_array_equal(memory, before)
    assert result.hbm["ecc_corrected"] == 4


@pytest.mark.parametrize("other", [(0x107, 2), (0x107, 3), (0x100, 7), (0x101, 12)])
def test_double_errors_trap_with_the_address(chip, other):
    faults = HbmFault(DATA + 0x104, 6), HbmFault(DATA + other[0], other[1])
    before, memory, trap = _run(chip, _LOAD, faults=faults)
    assert trap.cause == Cause.BUS_ERROR
    assert str(trap).endswith(f"the memory refused an access at 0x{DATA + 0x100:x}")
    np.testing.assert_array_equal(memory, before)


def test_two_words_with_an_error_each_are_fine(chip):
    faults = HbmFault(DATA + 7, 0), HbmFault(DATA + 8, 0)
    _, _, result = _run(chip, _LOAD, faults=faults)
    assert result.hbm["ecc_corrected"] == 2


_STORE = (Op("add", {"rd": Reg(1), "rs": Reg(0), "x": 0x89ABCDEF}),)
_STORE += (Op("st", {"rs": Reg(1), "x": DATA // 64, "y": 20}),)


def test_a_word_written_in_part_is_corrected_first(chip):
    before, memory, result = _run(chip, *_STORE, faults=(HbmFault(DATA + 18, 1),))
    before[DATA + 20 : DATA + 24] = [0xEF, 0xCD, 0xAB, 0x89]
    np.testing.assert_array_equal(memory, before)
    assert result.hbm["ecc_corrected"] == 1


def test_a_word_beyond_repair_is_not_written_in_part(chip):
    faults = HbmFault(DATA + 18, 1), HbmFault(DATA + 22, 5)
    before, memory, trap = _run(chip, *_STORE, faults=faults)
    assert trap.cause == Cause.BUS_ERROR
    assert str(trap).endswith(f" at 0x{DATA:x}")
    np.testing.assert_array_equal(memory, before)


def test_faults_that_make_no_sense_are_refused(chip):
    with pytest.raises(ValueError, match="must be between 0 and 15, not 16"):
        _run(chip, faults=(HbmFault(0, 16),))
    with pytest.raises(ValueError, match="address must be between 0 and"):
        _run(chip, faults=(HbmFault(1 << 40, 0),))
