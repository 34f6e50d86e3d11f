"""Sweeps that run: their numbers, that nothing is lost, that nothing runs twice."""

import csv
import json
import shlex
from collections import Counter

import pytest
from pyarrow import parquet
from typer.testing import CliRunner

from compiler.pipeline import compile_file
from compiler.storage import Storage
from isa.assembler import assemble_file
from isa.config import load_config
from isa.image import save_image
from sim.cli import app
from sim.cycle import estimate
from sim.cycle.profile import profile
from sim.sweep import measure
from sim.sweep.plots import front, write_plots
from sim.sweep.points import points_of
from sim.sweep.programs import Launch
from sim.sweep.spec import read_sweep
from tests.sim.sweeps import MATMUL, MODEL, model, program, rows, sweep, written

MEMORIES = '[fields]\nhbm = ["hbm3", ""]\nmemory_latency_cycles = [10, 90]\n'


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """A model on three arrays with two memories, of which one can't exist: folder and rows."""
    folder = tmp_path_factory.mktemp("arrays")
    text = """
        [[together]]
        rows = [8, 4, 4]
        cols = [8, 16, 4]
        lanes = [8, 16, 8]
        line_bytes = [32, 64, 32]
        [fields]
        hbm = ["hbm3", "hbm4"]
    """
    path = written(folder, text + model("prefill = [9]\ndecode = [20]") + program())
    found = rows(path, "--parquet", "--plot", folder / "plots.svg")
    return path, found


def test_every_point_has_a_row(arrays):
    path, found = arrays
    assert [row["key"] for row in found] == [point.key for point in points_of(read_sweep(path))]
    kinds = Counter((row["program"], row["launch"], row["status"]) for row in found)
    assert kinds["stories", "prefill", "ok"] == kinds["stories", "decode", "ok"] == 4
    assert kinds["stories", "decode", "impossible"] == 2
    assert sum(kinds.values()) == len(found) == 18
    for row in found:
        if row["config"]["lanes"] > row["config"]["cols"]:
            assert row["status"] == "impossible"
            assert row["reason"] == "lanes must be a divisor of cols (4), not 8"


def test_a_program_that_a_chip_cannot_take_is_a_row(arrays):
    """matmul.s has addresses of `tiny`, which on other chips are not aligned."""
    odd = [r for r in arrays[1] if r["program"] == "matmul" and r["config"]["rows"] != 8]
    assert [row["status"] for row in odd] == ["impossible"] * 4
    assert all("must be aligned to" in r["reason"] for r in odd if r["config"]["cols"] == 16)


def test_rows_are_what_profile_says(arrays):
    """On a program compiled for that chip alone, where the sweep's was compiled for another."""
    for row in arrays[1]:
        if row["status"] != "ok" or row["launch"] == "program":
            continue
        config = load_config(row["config"]["name"])
        found = profile(compile_file(MODEL, config, 32), row["tokens"], row["past"], "cycle")
        assert (row["cycles"], row["seconds"]) == (found.cycles, found.seconds)
        assert row["classes"] == found.classes
        assert row["in_use"] == found.utilisation
        assert all(sum(of.values()) == row["cycles"] for of in row["classes"].values())


def test_products_are_those_of_the_graph(arrays):
    """Counted by hand from the model's sizes, see `tests/models/README.md`; attention's products
    cover what lies behind a token, too, so that they are at least these."""
    hidden, kv, ffn, vocabulary, layers = 64, 32, 172, 512, 5
    weights = layers * (2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * ffn)
    for row in arrays[1]:
        if row["status"] == "ok" and row["launch"] == "decode":
            context = layers * 2 * hidden * (row["past"] + 1)
            least = weights + hidden * vocabulary + context
            assert least <= row["macs"] <= 1.5 * least
            size = row["config"]["rows"] * row["config"]["cols"]
            assert row["mac_utilisation"] == row["macs"] / (row["cycles"] * size)


def test_the_command_gives_the_row(arrays, tmp_path, monkeypatch):
    """Typed in another folder: `jcc … && jalapeno profile …`."""
    from compiler.cli import app as jcc

    monkeypatch.chdir(tmp_path)
    row = next(r for r in arrays[1] if r["status"] == "ok" and r["config"]["cols"] == 16)
    first, second = row["command"].split(" && ")
    assert CliRunner().invoke(jcc, shlex.split(first)[1:]).exit_code == 0
    shown = CliRunner().invoke(app, [*shlex.split(second)[1:], "--json"])
    assert json.loads(shown.stdout)["cycles"] == row["cycles"]


def test_tables_hold_every_row(arrays):
    path, found = arrays
    folder = path.with_suffix("")
    with (folder / "results.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["key"] for row in table] == [row["key"] for row in found]
    typed = parquet.read_table(folder / "results.parquet").to_pylist()
    for text, entry, row in zip(table, typed, found, strict=True):
        assert entry["cycles"] == row.get("cycles")
        assert text["cycles"] == str(row.get("cycles", ""))
        assert entry["config.hbm"] == text["config.hbm"] == row["config"]["hbm"]
        assert entry["command"] == row["command"]
        if row["status"] == "ok":
            assert entry["classes.load.memory"] == row["classes"]["load"]["memory"]


def test_pictures_show_every_launch(arrays):
    path, _ = arrays
    drawn = (path.parent / "plots.svg").read_text()
    assert drawn.startswith("<?xml")
    for text in ("stories prefill 9", "stories decode 20", "Pareto front"):
        assert f"<!-- {text} -->" in drawn


def test_pictures_of_other_axes(tmp_path):
    text = '[fields]\nhbm = ["hbm3", ""]\n'
    sweep(path := written(tmp_path, text + program()), "--plot", tmp_path / "p.svg")
    assert "<!-- hbm -->" in (tmp_path / "p.svg").read_text()
    with pytest.raises(ValueError, match=r"p.jpg: a picture ends in .svg, .png, .pdf"):
        sweep(path, "--plot", tmp_path / "p.jpg")
    write_plots(tmp_path / "none.png", [], [])
    assert (tmp_path / "none.png").read_bytes()[1:4] == b"PNG"


def test_the_front_is_what_nothing_beats():
    cases = [(4, 9), (1, 8), (2, 8), (2, 5), (8, 5), (3, 6), (16, 1), (1, 9)]
    points = [{"seconds": float(time), "size": size} for size, time in cases]
    found = [(row["size"], row["seconds"]) for row in front(points, lambda row: row["size"])]
    assert found == [(1, 8.0), (2, 5.0), (16, 1.0)]


def test_nothing_runs(tmp_path):
    path = written(tmp_path, "[fields]\nlanes = [16, 32]\n" + program())
    with pytest.raises(ValueError, match="none of 2 points can exist: lanes must be a divisor"):
        sweep(path)


def test_an_image_runs_on_other_memories(tmp_path):
    save_image(assemble_file(MATMUL), tmp_path / "m.jx")
    found = rows(written(tmp_path, MEMORIES + program(tmp_path / "m.jx")))
    assert [row["status"] for row in found] == ["ok"] * 4
    slow, fast = (r["cycles"] for r in found if r["config"]["hbm"] == "")
    assert slow < fast
    text = '[fields]\nhbm = [""]\nmemory_bytes = [4096, 1048576]\n'
    for file in (tmp_path / "m.jx", MATMUL):  # what fits one memory is compiled, and fits no other
        small, large = rows(written(tmp_path, text + program(file)))
        assert "needs" in small["reason"]
        assert (small["status"], large["status"]) == ("impossible", "ok")


def test_small_points_agree_with_the_rtl(tmp_path):
    """Two memories of one chip; the third is too large an array to be run."""
    text = """
        [[together]]
        memory_latency_cycles = [10, 90, 10]
        rows = [8, 8, 64]
        [fields]
        hbm = [""]
        line_bytes = [128]
    """
    path = written(tmp_path, text + model("prefill = [9]"))
    first, second, large = rows(path, "--check-rtl")
    for row in (first, second):
        assert (row["rtl_cycles"], row["rtl_error"]) == (row["cycles"], 0)
    assert first["rtl_cycles"] < second["rtl_cycles"]
    assert large["status"] == "ok"
    assert "rtl_cycles" not in large
    folder = tmp_path / "sweep"
    size = (folder / "results.jsonl").stat().st_size
    assert rows(path, "--check-rtl")[0] == first
    assert (folder / "results.jsonl").stat().st_size == size


def test_long_points_are_estimated(tmp_path, monkeypatch):
    """Layers are one loop, of which a few iterations are followed; products are those of all."""
    config, path = load_config("tiny"), tmp_path / "loop.jx"
    save_image(compile_file(MODEL, config, 64, storage=Storage(loops="always")), path)
    launch = Launch(1, 30)
    whole = measure.measure(path, config, launch)
    measure._trace.cache_clear()
    monkeypatch.setattr(estimate, "LONG_CYCLES", 1)
    part = measure.measure(path, config, launch)
    measure._trace.cache_clear()
    assert (whole["status"], whole["bound"], part["status"]) == ("ok", 0, "ok")
    assert 0 < part["bound"] < whole["cycles"]
    assert abs(part["cycles"] - whole["cycles"]) <= part["bound"]
    assert part["macs"] == whole["macs"] > 0
