"""The runner: every way in which a bench can end, the cache of builds, bad calls."""

import pytest

from rtl.memory import Sram1RW
from tb.build import SECONDS, build, why_unavailable
from tb.runner import BenchFailure, run

BENCH = "tests.tb.bench_outcomes"


@pytest.fixture
def ram(simulator: str):
    return build(Sram1RW(16, 4), "ram", simulator)


def test_reports_the_tests_run(ram) -> None:
    assert run(ram, BENCH, testcase="passes") == 1


def test_names_the_failing_test(ram) -> None:
    with pytest.raises(BenchFailure, match=r"failed: .*fails(.|\n)*the reason"):
        run(ram, BENCH, testcase="fails")


def test_failure_beside_success_fails(ram) -> None:
    with pytest.raises(BenchFailure, match=r"failed: [^,]*\.fails\n"):
        run(ram, BENCH, testcase="passes,fails")


@pytest.mark.parametrize(
    ("module", "testcase"), [(BENCH, "no_such_test"), ("tests.tb.bench_skipped", None)]
)
def test_no_test_fails(ram, module: str, testcase: str | None) -> None:
    with pytest.raises(BenchFailure, match="no test ran"):
        run(ram, module, testcase=testcase)


def test_missing_module_fails(ram) -> None:
    with pytest.raises(BenchFailure, match="no_such_bench"):
        run(ram, "tests.tb.no_such_bench")


def test_crash_fails(ram) -> None:
    with pytest.raises(BenchFailure, match=r"bench_outcomes on .* no result"):
        run(ram, BENCH, testcase="crashes")


def test_hanging_run_is_stopped(ram, monkeypatch) -> None:
    monkeypatch.setenv(SECONDS, "5")
    with pytest.raises(BenchFailure, match=r"bench_outcomes on .* no result"):
        run(ram, BENCH, testcase="hangs")


def test_parameters_arrive(ram) -> None:
    parameters = {"words": ["a", "b"], "seed": 3}
    assert run(ram, BENCH, parameters=parameters, testcase="sees_parameters") == 1


def test_same_design_is_built_once(ram) -> None:
    stamp = (ram.folder / "built").stat().st_mtime_ns
    again = build(Sram1RW(16, 4), "ram", ram.simulator)
    assert again == ram
    assert (again.folder / "built").stat().st_mtime_ns == stamp


def test_other_design_is_another_build(ram) -> None:
    assert build(Sram1RW(16, 5), "ram", ram.simulator).folder != ram.folder


def test_waves_leave_a_dump(simulator: str) -> None:
    target = build(Sram1RW(16, 4), "ram", simulator, waves=True)
    run(target, BENCH, testcase="passes")
    assert [*target.folder.glob("**/*.vcd"), *target.folder.glob("**/*.fst")]


def test_unknown_simulator() -> None:
    with pytest.raises(ValueError, match=r"must be one of verilator, icarus, not 'vcs'"):
        why_unavailable("vcs")
