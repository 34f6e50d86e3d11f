"""Random programs on both machines, and every program that once failed."""

import pytest
from typer.testing import CliRunner

from sim import fuzz
from sim.cli import app
from sim.fuzz import CHIPS, campaign, make_program, try_program
from sim.fuzz_case import Case, compare, run_functional, run_rtl
from sim.fuzz_files import read_case, write_case
from tests.support import ROOT

EVERY = pytest.mark.parametrize("name", list(CHIPS))
KEPT = sorted((ROOT / "programs" / "regressions").glob("*.s"))


@EVERY
@pytest.mark.parametrize("illegal", [False, True], ids=["legal", "illegal"])
def test_the_machines_agree(name, illegal, tmp_path):
    programs = 11 if illegal else 17
    failures = campaign([CHIPS[name]], programs, 1000, illegal, tmp_path)
    for failure in failures:
        assert failure is None, f"{failure.why}: {failure.file}"


@pytest.mark.parametrize("file", KEPT, ids=lambda file: file.stem)
def test_what_once_failed(file):
    assert compare(read_case(file)) is None


def test_outcomes_hold_what_was_done():
    """Both machines change memory, SRAM and accumulators; equal outcomes are not empty ones."""
    _, case = make_program(CHIPS["tiny"], 4, illegal=False)
    for outcome in (run_functional(case), run_rtl(case)):
        assert outcome.end == "halt"
        assert (outcome.hbm != case.memory()).sum() > 100
        assert (outcome.sram != case.sram()).sum() > 100
        assert (outcome.acc != case.acc(outcome.acc.dtype)).sum() > 10
        assert outcome.counters
        assert min(outcome.counters.values()) > 0


@EVERY
@pytest.mark.parametrize("illegal", [False, True], ids=["legal", "illegal"])
def test_files_hold_the_whole_case(name, illegal, tmp_path):
    for seed in range(11):
        _, case = make_program(CHIPS[name], seed, illegal)
        write_case(case, tmp_path / "case.s", "a reason\non two lines")
        assert read_case(tmp_path / "case.s") == case
        assert (tmp_path / "case.s").read_text().startswith("# a reason on two lines\n")


def test_reject_a_file_without_a_case(tmp_path):
    (tmp_path / "plain.s").write_text("halt\n")
    with pytest.raises(ValueError, match=r"plain\.s: expected one line that begins with '# case"):
        read_case(tmp_path / "plain.s")


def test_a_failure_is_one_line_and_status_1(tmp_path, monkeypatch):
    def differ(case: Case) -> str | None:
        return "they differ" if case.seed == 6 else None

    def failing(config, seed, illegal, folder, _):
        return try_program(config, seed, illegal, folder, differ)

    monkeypatch.setattr(fuzz, "try_program", failing)
    command = ["fuzz", "--programs", "9", "--seed", "3", "--config", "tiny", "--save", tmp_path]
    result = CliRunner().invoke(app, [str(word) for word in command])
    assert result.exit_code == 1
    assert str(result.exception) == f"{tmp_path}/tiny-6.s: they differ"
    assert result.stdout.endswith("    halt\n")
    assert read_case(tmp_path / "tiny-6.s").seed == 6


def test_agreement_is_one_line_and_status_0(tmp_path):
    command = ["fuzz", "--programs", "2", "--config", "tiny", "--illegal", "--save", str(tmp_path)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0
    assert "2 programs from seed 1 on: the back ends agree on all" in result.stderr
    assert not list(tmp_path.iterdir())
