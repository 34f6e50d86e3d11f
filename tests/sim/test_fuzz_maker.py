"""Random programs: legal, free of hazards, and of every kind of instruction and operand."""

from collections import Counter

import pytest

from isa.formats import ACTIVATIONS, FORMATS
from isa.image import ProgramImage
from isa.program import Op, Reg
from isa.table import BY_MNEMONIC, VECTOR, Choice
from sim.checker import Checker
from sim.fuzz import CHIPS, chip, make_program
from sim.fuzz_maker import ProgramMaker, memory_of, random_memory
from sim.fuzz_operands import VECTOR_MNEMONICS

EVERY = pytest.mark.parametrize("name", list(CHIPS))
PROGRAMS = 40


def _ops(name: str) -> list[Op]:
    programs = (ProgramMaker(CHIPS[name], seed).program(6) for seed in range(PROGRAMS))
    return [op for program in programs for op in program]


@EVERY
def test_the_static_checker_takes_them(name):
    for seed in range(PROGRAMS):
        _, case = make_program(CHIPS[name], seed, illegal=False)
        image = ProgramImage(case.config, case.code)
        assert Checker(case.config, image).run(case.memory()) > 0


@EVERY
def test_together_they_use_everything(name):
    ops, element = _ops(name), CHIPS[name].element
    assert {op.mnemonic for op in ops} == set(BY_MNEMONIC)
    products = {(op.get("af"), op.get("wf"), op.get("layout")) for op in ops if "wf" in op.fields}
    weights = [entry for entry in FORMATS if element in FORMATS[entry].arrays]
    layouts = ("normal", "transposed")
    expected = {(af, wf, to) for af in ACTIVATIONS[element] for wf in weights for to in layouts}
    assert products == expected
    for field in ("dt", "at", "bt"):
        described = VECTOR.slots[field].field
        assert isinstance(described, Choice)
        assert {op.get(field) for op in ops if field in op.fields} == set(described.values)
    assert {op.mnemonic for op in ops} >= set(VECTOR_MNEMONICS)
    copies = [op for op in ops if op.mnemonic in ("load", "store")]
    values = {name: [op.get(name) for op in copies] for name in ("planes", "offset", "bytes")}
    assert {1, 2, 3} <= set(values["planes"])
    assert any(isinstance(value, int) and value % 64 for value in values["offset"])
    assert any(isinstance(value, int) and value % CHIPS[name].lanes for value in values["bytes"])
    lists = {op.get("rows") for op in ops if op.mnemonic == "gather"}
    words = CHIPS[name].line_bytes // 4
    assert any(isinstance(rows, int) and rows > words for rows in lists)
    assert {len(op.waits) for op in ops} == {len(op.signals) for op in ops} == {0, 1, 2, 3}
    assert {count for op in ops for _, count in op.waits} >= {1, 2}
    assert sum(isinstance(value, Reg) for op in ops for value in op.fields.values()) > len(ops)


def test_some_loop_and_some_branches_skip():
    directions = Counter()
    for seed in range(PROGRAMS):
        ops = ProgramMaker(CHIPS["tiny"], seed).program(6)
        branches = [(i, op.get("y")) for i, op in enumerate(ops) if op.mnemonic in ("beq", "blt")]
        directions.update("back" if y < i else "on" for i, y in branches if isinstance(y, int))
    assert directions["back"] > PROGRAMS / 2
    assert directions["on"] > PROGRAMS / 2


def test_a_seed_gives_one_program():
    one, other = (ProgramMaker(CHIPS["fp8"], 5).program(4) for _ in range(2))
    assert one == other
    assert one != ProgramMaker(CHIPS["fp8"], 6).program(4)
    assert (random_memory(one, 3) == random_memory(other, 3)).all()


def test_chips_by_name_or_preset():
    assert {entry.element for entry in CHIPS.values()} == {"bf16", "fp8", "int8"}
    assert chip("int8") is CHIPS["int8"]
    assert chip("small").name == "small"


def test_reject_a_program_that_reaches_its_data():
    with pytest.raises(ValueError, match="must fit in 131072 bytes, not 131104"):
        memory_of(bytes(131104), 1)
