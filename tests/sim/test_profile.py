"""Whose the cycles are: sums, timelines, and a systolic array counted by hand."""

import io
import json
from itertools import pairwise

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from compiler.pipeline import compile_file
from compiler.storage import Storage
from isa.config import load_config
from isa.image import ProgramImage, save_image
from isa.program import Op
from isa.table import Engine
from sim.cli import app
from sim.cycle.measure import Situation, trace_of
from sim.cycle.model import run_trace
from sim.cycle.products import product
from sim.cycle.profile import Profile, print_profile, profile
from sim.cycle.record import Record
from sim.cycle.shares import layer_of, without_overlap
from tests.compiler.models import model_path

TINY = load_config("tiny")
ENGINES = [engine.name.lower() for engine in Engine]


@pytest.fixture(scope="module")
def stories() -> ProgramImage:
    return compile_file(model_path("stories260k/optimum_op18"), TINY, 64)


@pytest.fixture(scope="module")
def found(stories) -> Profile:
    return profile(stories, 3, 9, "cycle")


@pytest.fixture(scope="module")
def image_file(stories, tmp_path_factory):
    path = tmp_path_factory.mktemp("images") / "s.jx"
    save_image(stories, path)
    return path


def run(*options) -> str:
    result = CliRunner().invoke(app, ["profile", *map(str, options)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("of", ["nodes", "layers"])
def test_nodes_and_layers_add_up_to_the_run(found, of):
    shares = getattr(found, of)
    assert sum(share.cycles for share in shares) == found.cycles
    for engine in ENGINES[1:]:
        for name, total in found.classes[engine].items():
            parts = sum(share.engines[engine][name] for share in shares)
            assert parts == (0 if name == "idle" else total), (engine, name)


def test_a_cycle_is_the_oldest_instructions(found):
    """Between two retirements that are in order, the later one's; none of what is overtaken."""
    reached = np.maximum.accumulate(found.record.end)
    assert np.array_equal(np.diff(reached, prepend=0), found.record.owned.sum(axis=1))


def test_loads_for_several_nodes_are_theirs(stories, found):
    """In proportion to their bytes: no row of their own is left, and every product has loads."""
    shared = stories.meta["shared_loads"]
    assert shared
    assert not {share.name for share in found.nodes} & shared.keys()
    of = {share.name: sum(share.engines["load"].values()) for share in found.nodes}
    for name, parts in shared.items():
        sizes = {node: size for node, size in parts.items() if size > 1000}
        assert all(of[node] for node in sizes), name


def test_layers_are_those_of_the_model(found):
    assert [share.name for share in found.layers if share.cycles] == [
        "(no layer)",
        *(f"layer {number}" for number in range(5)),
    ]
    assert {share.longest_pole for share in found.layers} <= set(ENGINES)


@pytest.mark.parametrize(
    ("node", "layer"),
    [
        ('node "/model/layers.12/mlp/Mul" (Mul)', "layer 12"),
        ('node "/h.0/attn/MatMul" (MatMul)', "layer 0"),
        ('node "/blocks/3/MatMul" (MatMul)', "layer 3"),
        ('node "/layers.0/MatMul" (MatMul), and in 4 more layers', "layer 0 and 4 more"),
        ('node "MatMul_17" (MatMul)', ""),
        ('node "/lm_head/MatMul" (MatMul)', ""),
        ('node "/patch.1/MatMul" (MatMul)', ""),
    ],
)
def test_layers_are_read_off_names(node, layer):
    assert layer_of(node) == layer


def test_leaps_belong_to_the_product_that_is_leapt_through():
    """Three tiles, long ones, one matmul: all rows are its own."""
    image = product(TINY, 300, 3, 1)
    trace = trace_of(Situation(image, image.memory()))
    record = Record.of_trace(trace)
    result = run_trace(trace, TINY, record=record)
    (place,) = np.flatnonzero(record.engines == Engine.MATRIX)
    assert (
        record.end[place] - record.begin[place]
        == record.classes[place].sum() - (record.classes[place][2])
    )
    assert record.end[place] - record.begin[place] >= 3 * 300
    assert dict(zip(result.classes["matrix"], record.classes[place], strict=True)) == {
        **result.classes["matrix"],
        "idle": 0,
    }
    assert record.end[-1] == result.cycles
    assert run_trace(trace, TINY) == result


def test_a_nop_that_waits_for_nothing_begins_and_retires():
    image = ProgramImage.from_ops(TINY, [Op("lnop"), Op("halt")], hbm_bytes=1 << 16)
    trace = trace_of(Situation(image, image.memory()))
    record = Record.of_trace(trace)
    run_trace(trace, TINY, record=record)
    assert (record.end - record.begin)[0] == 2


@pytest.mark.parametrize("backend", ["cycle", "rtl"])
def test_timelines_have_a_track_for_each_engine(image_file, stories, tmp_path, backend):
    target = tmp_path / "t.json"
    run(image_file, "--tokens", 3, "--past", 9, "--backend", backend, "--trace", target)
    events = json.loads(target.read_text())["traceEvents"]
    tracks = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert list(tracks.values()) == ENGINES
    expected = profile(stories, 3, 9, "cycle")
    nodes = {name for _, name in stories.nodes}
    for tid, engine in tracks.items():
        slices = [e for e in events if e["ph"] == "X" and e["tid"] == tid]
        assert slices
        for one, other in pairwise(slices):
            assert one["ts"] + one["dur"] <= other["ts"]
        assert slices[0]["ts"] >= 0
        assert slices[-1]["ts"] + slices[-1]["dur"] <= expected.cycles
        assert all(e["dur"] > 0 and e["args"]["node"] in nodes for e in slices)
        assert all(e["name"].endswith(e["args"]["node"]) for e in slices)
        if engine != "sequencer":
            busy = sum(e["args"]["cycles"].get("busy", 0) for e in slices)
            assert busy == expected.classes[engine]["busy"]
    assert slices[-1]["args"]["cycles"]


def test_the_command_shows_the_costliest_nodes(image_file):
    found = json.loads(run(image_file, "--json"))
    assert sum(node["cycles"] for node in found["nodes"]) == found["cycles"]
    assert sum(layer["cycles"] for layer in found["layers"]) == found["cycles"]
    result = CliRunner().invoke(app, ["profile", str(image_file), "--top", "2"])
    assert f"{len(found['nodes']) - 2} more nodes" in result.output
    costliest = max(found["nodes"], key=lambda node: node["cycles"])
    assert f"{costliest['cycles']:,}" in result.output
    assert "WS" not in result.output


@pytest.mark.parametrize("wide", [False, True])
def test_tables_cut_no_number_and_name_each_node(found, wide, monkeypatch):
    """At the width of an ordinary terminal; all columns want a wide one."""
    page = Console(width=260 if wide else 80, record=True, file=io.StringIO())
    monkeypatch.setattr("sim.cycle.profile.console", page)
    monkeypatch.setattr("sim.report.console", page)
    print_profile(found, 1000, wide)
    text = page.export_text()
    assert "…" not in text
    for share in (*found.nodes, *found.layers):
        assert f"{share.cycles:,}" in text
        if wide:
            assert share.name in text
            assert f"{share.without_overlap['ws'] or share.cycles:,}" in text


def test_programs_without_weights_are_timed(found, tmp_path):
    """As many cycles as with them."""
    bare = compile_file(
        model_path("stories260k/optimum_op18"), TINY, 64, storage=Storage(stored=False)
    )
    assert profile(bare, 3, 9, "cycle").cycles == found.cycles


@pytest.mark.parametrize("place", ["", "nowhere/t.json"])
def test_timelines_that_cannot_be_written_are_refused_first(image_file, tmp_path, place):
    with pytest.raises(ValueError, match=r"--trace must be a file in a folder that exists$"):
        run(image_file, "--trace", tmp_path / place)
    assert not list(tmp_path.iterdir())


def test_timelines_of_other_back_ends_are_refused(image_file, tmp_path):
    with pytest.raises(
        ValueError, match=r"^--backend must be one of cycle, rtl, not 'functional'$"
    ):
        run(image_file, "--backend", "functional", "--trace", tmp_path / "t.json")
    assert not list(tmp_path.iterdir())


def stationary_weights(rows: int, cols: int, m: int, k: int, n: int) -> int:
    """The last cycle in which a sum leaves the array, step by step: a tile's weights go in row by
    row, then each activation row, skewed, then the next tile."""
    at = 0
    for _ in range(0, k, rows):
        for _ in range(0, n, cols):
            loaded = at + rows
            leaves = [loaded + i + (rows - 1) + (cols - 1) for i in range(m)]
            at = leaves[-1] + 1
    return at - 1


@pytest.mark.parametrize("sizes", [(8, 8, 1, 8, 8), (4, 6, 5, 9, 13), (8, 4, 64, 17, 4)])
def test_products_without_overlap(sizes):
    assert without_overlap(*sizes)["ws"] == stationary_weights(*sizes)


def test_products_with_outputs_stationary():
    """A tile of one output is its K products, and no way through the array."""
    assert without_overlap(1, 1, 1, 7, 1)["os"] == 6
    assert without_overlap(4, 4, 8, 16, 8)["os"] == 4 * (16 + 4 + 4 - 2) - 1


def test_products_of_nodes_are_in_the_closed_form(stories, found):
    """lm_head, (3, 64) by (64, 512), whose columns are cut into several products."""
    (head,) = [share for share in found.nodes if "lm_head" in share.name]
    executed = zip(found.record.pcs, found.record.engines, strict=True)
    products = sum(e == Engine.MATRIX and stories.node_of(pc) == head.name for pc, e in executed)
    assert head.without_overlap["ws"] == 8 * 64 * (3 + 2 * 8 + 8 - 2) - products
    norms = [share for share in found.nodes if "norm" in share.name and "proj" not in share.name]
    assert all(share.without_overlap == {"ws": 0, "os": 0} for share in norms)
