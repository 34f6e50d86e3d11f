"""Runs a cocotb module against an emitted design, on Verilator or Icarus, from ordinary tests.

    run_bench(Sram1RW(32, 20, 8), "ram", "tb.bench_sram", simulator="icarus", seed=7,
              parameters={"width": 32, "depth": 20, "granule": 8})

The module's `@cocotb.test()` functions run in the simulator's process, where `bench_parameters()`
gives them the dictionary. The clock's port is `clk`, the reset's `rst`; every other name is the
signature's. Drive inputs after falling edges, the first included: in Icarus everything is X at the
clock's first rise. End a test after a clock edge: Icarus crashes when one ends between.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from subprocess import CalledProcessError
from xml.etree import ElementTree

from amaranth.lib import wiring

from rtl.emit import input_names
from tb.attributes import read_attributes
from tb.build import ATTRIBUTED, LINES, TIMESCALE, Build, build, make_runner, tail
from tb.waves import name_values

DUMP = "dump.vcd"
_PARAMETERS = "JALAPENO_BENCH"
_INPUTS = "JALAPENO_BENCH_INPUTS"


class BenchFailure(AssertionError):
    """A cocotb test failed, or none ran; the message names it and quotes the log."""


def bench_parameters() -> dict:
    """Inside a cocotb module: the `parameters` that `run_bench` was given."""
    return json.loads(os.environ.get(_PARAMETERS, "{}"))


def bench_inputs() -> list[str]:
    """Inside a cocotb module: the names of the design's inputs but clock and reset."""
    return os.environ[_INPUTS].split()


def run_bench(
    component: wiring.Component,
    top_name: str,
    test_module: str,
    simulator: str = "verilator",
    seed: int = 1,
    waves: bool = False,
    parameters: Mapping[str, object] | None = None,
    testcase: str | None = None,
    public: Sequence[tuple[str, str]] = (),
) -> int:
    """Build `component` (cached by content) and run `test_module` on it; returns the tests run.

    `build` and `run` in one. With `waves` a dump stays, whose place is printed. Raises BenchFailure
    when a test fails or none ran, ValueError when the design cannot be built.
    """
    target = build(component, top_name, simulator, waves, public)
    return run(target, test_module, seed, parameters, testcase, input_names(component))


def run(
    target: Build,
    test_module: str,
    seed: int = 1,
    parameters: Mapping[str, object] | None = None,
    testcase: str | None = None,
    inputs: Sequence[str] = (),
) -> int:
    """Run `test_module`, or one test of it, on a finished build; returns the tests run.

    `seed` seeds Python's `random` in the simulator's process; `inputs`: see `bench_inputs`. Raises
    BenchFailure as `run_bench`.
    """
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=target.folder))
    log, results = folder / "run.log", folder / "results.xml"
    runner = make_runner(target.simulator)
    runner.waves = target.waves
    status = "the simulator ended with no result"
    try:
        runner.test(
            test_module=test_module,
            hdl_toplevel=target.top_name,
            hdl_toplevel_lang="verilog",
            build_dir=target.folder,
            test_dir=folder,
            results_xml=str(results),
            seed=seed,
            testcase=testcase,
            timescale=TIMESCALE if target.simulator == "icarus" else None,
            waves=target.waves,
            plusargs=[f"+dumpfile_path={folder / DUMP}"] if target.waves else [],
            extra_env={
                _PARAMETERS: json.dumps(dict(parameters or {})),
                _INPUTS: " ".join(inputs),
            },
            log_file=log,
        )
    except (SystemExit, RuntimeError, CalledProcessError) as error:
        # The runner also exits when a test failed; the results file says which.
        status = f"{status} ({error})"
    if target.waves:
        print(f"waves: {_readable(target, folder / DUMP)}")
    if target.lines:
        _keep_lines(folder)
    if not results.exists():
        raise BenchFailure(f"{test_module} on {target.simulator}: {status}\n{tail(log)}")
    ran, failed = _read_results(results)
    if failed or not ran:
        what = f"failed: {', '.join(failed)}" if failed else "no test ran"
        label = f"{test_module} on {target.simulator} (seed {seed})"
        raise BenchFailure(f"{label}: {what}\nlog: {log}\n{tail(log)}")
    if not target.waves:
        shutil.rmtree(folder)  # a failed run, and a dump, stay for inspection
    return ran


def _readable(target: Build, dump: Path) -> Path:
    """The dump, with the names of values added."""
    if dump.exists():
        facts = read_attributes((target.folder / ATTRIBUTED).read_text())
        name_values(dump, target.top_name, facts)
    return dump


def _keep_lines(folder: Path) -> None:
    """Move the run's counts of lines to where they are collected."""
    counts = folder / "coverage.dat"
    if counts.exists():
        kept = Path(os.environ[LINES]) / f"{folder.parent.name}-{folder.name}.dat"
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(counts, kept)


def _read_results(results: Path) -> tuple[int, list[str]]:
    """Number of tests that ran, and the names of those that failed."""
    ran, failed = 0, []
    for case in ElementTree.parse(results).getroot().iter("testcase"):
        if case.find("skipped") is not None:
            continue
        ran += 1
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(f"{case.get('classname', '')}.{case.get('name', '')}".strip("."))
    return ran, failed
