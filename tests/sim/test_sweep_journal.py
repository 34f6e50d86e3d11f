"""Nothing finished is lost, nothing runs twice: results of sweeps, however these end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sim.builds import ROOT
from sim.sweep import measure as measures
from sim.sweep.journal import open_journal
from sim.sweep.points import points_of
from sim.sweep.run import run_points
from sim.sweep.spec import read_sweep
from sim.sweep.values import SweepError
from tests.sim.sweeps import model, program, rows, sweep, written

MEMORIES = '[fields]\nhbm = ["hbm3", ""]\nmemory_latency_cycles = [10, 90]\n'


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_known_points_do_not_run_again(tmp_path):
    path, folder = written(tmp_path, MEMORIES + model("decode = [7]")), tmp_path / "sweep"
    before = rows(path)
    size = (folder / "results.jsonl").stat().st_size
    assert rows(path) == before
    assert (folder / "results.jsonl").stat().st_size == size
    path.write_text(path.read_text().replace("[10, 90]", "[10, 90, 200]"))
    after = rows(path)
    assert {row["key"] for row in before} < {row["key"] for row in after}
    assert len(lines(folder)) == len(after) == 6
    assert len(list((folder / "programs").glob("*.jx"))) == 1


def test_a_torn_line_is_dropped(tmp_path):
    path, folder = written(tmp_path, MEMORIES + program()), tmp_path / "sweep"
    before = rows(path)
    journal = folder / "results.jsonl"
    whole = journal.read_bytes()
    for cut in (1, 40, len(whole.splitlines()[-1]) - 1):
        journal.write_bytes(whole[:-cut])
        assert rows(path) == before
        assert sorted(journal.read_bytes().splitlines()) == sorted(whole.splitlines())


def test_a_line_that_is_no_row_is_named(tmp_path):
    path = written(tmp_path, program())
    sweep(path)
    journal = tmp_path / "sweep" / "results.jsonl"
    journal.write_text("7\n" + journal.read_text())
    with pytest.raises(SweepError, match=r"results.jsonl line 1: not a row of results: delete"):
        sweep(path)


def test_two_sweeps_do_not_share_a_folder(tmp_path):
    path = written(tmp_path, program())
    sweep(path)
    with open_journal(tmp_path / "sweep" / "results.jsonl"):
        with pytest.raises(SweepError, match=r"results.jsonl: another sweep is writing to it"):
            sweep(path)


def test_a_full_disk_is_named_and_loses_nothing(tmp_path):
    path, folder = written(tmp_path, MEMORIES + program()), tmp_path / "sweep"
    folder.mkdir()
    (folder / "results.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left on device") as caught:
        sweep(path)
    assert caught.value.filename == str(folder / "results.jsonl")
    (folder / "results.jsonl").unlink()
    assert all(row["status"] == "ok" for row in rows(path))


def test_a_row_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    """The second piece of a row finds the disk full: the first one goes, too."""
    with open_journal(tmp_path / "results.jsonl") as journal:
        journal.add({"key": "a", "cycles": 1})
        write, pieces = os.write, iter((5, None))

        def fill(handle: int, data: bytes) -> int:
            if (count := next(pieces)) is None:
                raise OSError(28, "No space left on device")
            return write(handle, data[:count])

        monkeypatch.setattr(os, "write", fill)
        with pytest.raises(OSError, match="No space left"):
            journal.add({"key": "b", "cycles": 2})
    assert lines(tmp_path) == [{"key": "a", "cycles": 1}]


def test_a_point_that_fails_is_tried_again(tmp_path, monkeypatch):
    """A fault of ours, not of the user's: the others go on, and the exit status is 1."""
    path = written(tmp_path, MEMORIES + program())
    points = list(points_of(read_sweep(path)))
    folder = tmp_path / "sweep"
    folder.mkdir()
    with open_journal(folder / "results.jsonl") as journal:
        broken = points[1].key
        for point in run_points(points, journal, folder / "programs", 1):
            if point.key == broken:
                journal.add({"key": broken, "status": measures.FAILED, "reason": "KeyError: 7"})
    assert {row["status"] for row in rows(path)} == {"ok"}


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_interrupted_sweep_goes_on(tmp_path, how):
    """All rows that were there stay, the others come, each once; no process stays behind."""
    text = "[fields]\nhbm_depth = [4, 8, 16, 32, 64]\nstore_bursts = [4, 16]\n"
    text += "acc_rows = [1024, 2048]\n"
    path, folder = written(tmp_path, text + model("prefill = [9]")), tmp_path / "sweep"
    command = [sys.executable, "-m", "sim.cli", "sweep", str(path), "--jobs", "2"]
    journal = folder / "results.jsonl"
    # A session, so that Ctrl-C reaches all of it, even where the tests run in the background, whose
    # processes inherit that it is ignored.
    options = {"cwd": ROOT, "start_new_session": True, "preexec_fn": _heed_interrupts}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options) as process:
        while process.poll() is None and not (journal.exists() and journal.stat().st_size):
            time.sleep(0.02)
        os.killpg(process.pid, how) if how == signal.SIGINT else process.kill()
        assert process.stderr is not None
        said = " ".join(process.stderr.read().split())  # ends when the last process has
    assert process.returncode == (130 if how == signal.SIGINT else -how)
    before = [json.loads(line) for line in journal.read_text().split("\n")[:-1]]
    if how == signal.SIGINT:
        assert f"interrupted: {len(before)} of 20 points are kept; again: the same" in said
        assert "Traceback" not in said
    assert 0 < len(before) < 20
    found = rows(path)
    assert len(found) == len(lines(folder)) == 20
    assert lines(folder)[: len(before)] == before
