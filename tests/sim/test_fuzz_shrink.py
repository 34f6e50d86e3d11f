"""The shrinker: planted bugs in the functional simulator are found and end as a few lines."""

from pathlib import Path

import numpy as np
import pytest

from isa import numbers
from isa.assembler import assemble_file
from isa.image import ProgramImage
from isa.program import decode_program
from sim import vector
from sim.checker import Checker
from sim.fuzz import CHIPS, try_program
from sim.fuzz_case import Case, difference, run_functional
from sim.fuzz_files import listing, read_case
from sim.scalar import ALU

TINY = CHIPS["tiny"]


def _differ(case: Case, patch: pytest.MonkeyPatch, table: dict, name: str, wrong) -> str | None:
    """The simulator against itself with another function in one of its tables."""
    right = run_functional(case)
    with patch.context() as patched:
        patched.setitem(table, name, wrong)
        return difference(right, run_functional(case))


def _first_failure(folder: Path, patch: pytest.MonkeyPatch, table: dict, name: str, wrong):
    for seed in range(60):
        failure = try_program(
            TINY, seed, False, folder, lambda case: _differ(case, patch, table, name, wrong)
        )
        if failure:
            return failure
    raise AssertionError("no program of 60 found the bug")


def _instructions(case: Case) -> list[str]:
    lines = [line.strip() for line in listing(case).splitlines()]
    return [line for line in lines if not line.startswith((".", "#", "L"))]


def test_a_wrong_vector_instruction_is_found_and_named(tmp_path, monkeypatch):
    def wrong(a, b):  # only results of magnitude 8 and more
        right = numbers.sub(a, b)
        return np.where(np.abs(right) >= 8, right + np.float32(1), right)

    failure = _first_failure(tmp_path, monkeypatch, vector._BINARY, "vsub", wrong)
    lines = _instructions(failure.case)
    assert len(lines) <= 3, lines
    assert [line.split()[0] for line in lines] == ["vsub", "halt"]
    assert "of sram differ" in failure.why
    assert failure.file.parent == tmp_path
    assert read_case(failure.file) == failure.case
    assert failure.why in failure.file.read_text().splitlines()[0]
    assemble_file(failure.file, failure.case.config)  # also without the tool


def test_a_wrong_scalar_instruction_is_found_and_named(tmp_path, monkeypatch):
    failure = _first_failure(
        tmp_path, monkeypatch, ALU, "shl", lambda a, b: (a << (b & 15)) & 0xFFFFFFFF
    )
    lines = _instructions(failure.case)
    assert any(line.startswith("shl") for line in lines)
    assert len(lines) <= 8, lines


def test_what_is_shrunk_has_no_hazards(tmp_path):
    """The static checker takes every candidate: a difference can be no race."""
    checked = 0

    def differ(case: Case) -> str | None:
        nonlocal checked
        checked += 1
        Checker(case.config, ProgramImage(case.config, case.code)).run(case.memory())
        used = {op.mnemonic for op in decode_program(case.code)}
        return "differs" if {"vsum", "matmul"} <= used and checked % 4 else None

    for seed in range(4):
        try_program(TINY, seed, False, tmp_path, differ)
    assert checked > 100
