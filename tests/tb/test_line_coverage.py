"""Line coverage: what Verilator counts, modules that are equal, the report, the command."""

from pathlib import Path

import pytest

from tb.build import LINES, build
from tb.line_coverage import collect, key_of, main, modules_of, report
from tb.runner import run
from tests.support import require_simulator
from tests.tb.test_waves import Little


@pytest.fixture
def folder(tmp_path: Path, monkeypatch) -> Path:
    """Counts of runs of the same design under two names; neither does all."""
    require_simulator("verilator")
    monkeypatch.setenv(LINES, str(tmp_path))
    for name, rows in (("little", [0, 3]), ("other", [0, 3, 15])):
        run(build(Little(), name), "tests.tb.bench_little", parameters={"rows": rows})
    return tmp_path


def test_lines_of_one_run(folder: Path) -> None:
    for path in folder.glob("other*"):
        path.unlink()
    tops = collect(folder)
    rows, share = report("little", tops["little"])
    assert 50 < share < 100
    missing = [row for row in rows if row.startswith("not executed")]
    assert missing
    assert all("little.inner" in row for row in missing)
    assert any("2'h2" in row for row in missing), "FULL is never assigned"


def test_equal_modules_share_what_was_executed(folder: Path) -> None:
    tops = collect(folder)
    assert tops.keys() == {"little", "other"}
    (rows, share), (_, other) = (report(top, tops[top]) for top in tops)
    assert share == other
    assert not [row for row in rows if "2'h2" in row and row.startswith("not executed")]


@pytest.mark.usefixtures("folder")
def test_names_do_not_matter_and_behaviour_does() -> None:
    emitted = build(Little(), "little").folder / "little.sv"
    one = modules_of(emitted)["little.inner"]
    two = modules_of(build(Little(), "other").folder / "other.sv")["other.inner"]
    assert key_of(one) == key_of(two)
    two.text[-3] += " // 1'h1"
    assert key_of(one) != key_of(two)


def test_command(folder: Path, capsys, monkeypatch) -> None:
    for least, status in ((10, 0), (100, 1)):
        monkeypatch.setattr("sys.argv", ["x", str(folder), "--top", "other", f"--least={least}"])
        assert main() == status
    assert "total" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", ["x", str(folder)])
    assert main() == 1
    assert "no counts of Core" in capsys.readouterr().out
