"""The options of `pytest tb/`: simulators, seed, dumps, coverage that is required."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, require_simulator

_TEST = """
import pytest
from tb.coverage import Coverage

@pytest.mark.parametrize("value", "{values}")
def test_covers(value):
    cover = Coverage("unit")
    cover.point("p", {{"x": "abc"}}, waive={{("c",): "never"}})
    cover.hit("p", value)
    cover.save()

def test_simulator(simulator, seed):
    print(f"runs on {{simulator}} with {{seed}}")
"""


def _pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"JALAPENO_BUILD": str(folder / "build"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("workers", ["0", "2"])
@pytest.mark.parametrize(("values", "status"), [("ab", 0), ("aa", 1)])
def test_required_coverage(tmp_path: Path, workers: str, values: str, status: int) -> None:
    (tmp_path / "test_it.py").write_text(_TEST.format(values=values))
    asked = ("-p", "tb.conftest", "-n", workers, "--coverage-required", "--sim", "verilator")
    ended = _pytest(tmp_path, *asked)
    assert ended.returncode == status, ended.stdout
    assert ("not hit: unit.p: x=b" in ended.stdout) == bool(status)
    assert "waived: unit.p: x=c: never" in ended.stdout
    (points,) = json.loads((tmp_path / "build/coverage/points.json").read_text()).values()
    assert points["p"]["missing"] == ([["b"]] if status else [])


def test_incomplete_coverage_is_reported_only(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(_TEST.format(values="a"))
    ended = _pytest(tmp_path, "-p", "tb.conftest", "-s", "--sim", "icarus", "--seed", "77")
    assert ended.returncode == 0, ended.stdout
    assert "not hit: unit.p: x=b" in ended.stdout
    assert "runs on icarus with 77" in ended.stdout
    assert "verilator" not in ended.stdout


def test_waves_say_where_they_are(tmp_path: Path) -> None:
    require_simulator("icarus")
    (tmp_path / "test_it.py").write_text(
        "from rtl.memory import Sram1R1W\n"
        "def test_two_ports(bench):\n"
        "    sizes = {'width': 8, 'depth': 4, 'cycles': 20}\n"
        "    assert bench(Sram1R1W(8, 4), 'ram', 'tb.bench_sram', sizes) == 1\n"
    )
    ended = _pytest(tmp_path, "-p", "tb.conftest", "--sim", "icarus", "--waves")
    assert ended.returncode == 0, ended.stdout
    (line,) = (line for line in ended.stdout.splitlines() if "waves: " in line)
    assert "$enddefinitions" in Path(line.partition("waves: ")[2]).read_text()
