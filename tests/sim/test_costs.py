"""What `jalapeno inspect` counts, against closed forms and the functional simulator's counters."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from compiler.pipeline import compile_file
from isa.assembler import assemble
from isa.config import load_config
from isa.image import ProgramImage, save_image
from isa.table import Engine
from sim import cli
from sim.backends import make_backend
from sim.costs import costs, regions, totals
from sim.host import InputError
from sim.runtime import Session
from tests.compiler.models import model_path

TINY = load_config("tiny")
HIDDEN, FFN, VOCABULARY, HEADS, KV_HEADS, WIDTH, LAYERS = 64, 172, 512, 8, 4, 8, 5  # stories260k
WEIGHTS = 2 * HIDDEN * HIDDEN + 2 * HIDDEN * KV_HEADS * WIDTH + 3 * HIDDEN * FFN


def costs_of(image: ProgramImage) -> list[dict]:
    return [vars(cost) | {"cycles": cost.cycles} for cost in costs(image)]


@pytest.fixture(scope="module")
def stories() -> ProgramImage:
    return compile_file(model_path("stories260k/optimum_op18"), TINY, 64)


@pytest.mark.parametrize(("tokens", "past"), [(1, 0), (1, 20), (9, 3), (20, 44)])
def test_products_are_those_of_the_model(stories, tokens, past):
    """Each pass has so many tokens, whose scores reach to the pass's end."""
    chunk, scores = int(str(stories.meta["chunk"])), 0
    for done in range(0, tokens, chunk):
        now = min(chunk, tokens - done)
        scores += 2 * HEADS * WIDTH * now * (past + done + now)
    products = tokens * (LAYERS * WEIGHTS + HIDDEN * VOCABULARY) + LAYERS * scores
    assert totals(costs(stories, tokens, past))["macs"] == products


def test_loads_for_several_nodes_are_theirs(stories):
    """Every product reads its own weights, whoever's come with them: one pass, K x N in bf16, and
    what rows are padded to."""
    shapes = {"q_proj": 64 * 64, "k_proj": 64 * 32, "v_proj": 64 * 32, "gate_proj": 64 * 172}
    assert any("q_proj" in node or "k_proj" in node for node in stories.meta["shared_loads"])
    found = costs(stories, 1, 20)
    for name, products in shapes.items():
        own = [cost for cost in found if "layers.2/" in cost.node and f"{name}/MatMul" in cost.node]
        (read,) = (cost.hbm_read for cost in own if cost.macs)
        assert 2 * products <= read <= 2 * products * 1.1, name
    assert all(not cost.hbm_read for cost in found if cost.node in stories.meta["shared_loads"])


def test_counts_are_those_of_a_run(stories):
    session = Session(stories, make_backend("functional"))
    session.step(np.arange(5, 21))
    sums, counters = totals(costs(stories, 16)), session.counters  # ids that are whole lines
    engines = [engine for engine in Engine if engine != Engine.SEQUENCER]
    instructions = sum(counters[f"{engine.name.lower()}_instructions"] for engine in engines)
    assert sums["executed"] == instructions
    moved = (counters["load_lines"] + counters["store_lines"]) * TINY.line_bytes
    assert sums["hbm_read"] + sums["hbm_written"] == moved


def test_nodes_and_what_lies_in_memory(stories):
    found = costs(stories)
    assert len({cost.node for cost in found}) == len(found)
    for cost in found:
        assert cost.node in (stories.node_of(cost.first), "")
        assert stories.node_of(cost.last) == cost.node
    parts = regions(stories)
    ends = [address + size for address, size, _ in parts]
    assert all(end <= start for end, (start, _, _) in zip(ends, parts[1:], strict=False))
    assert ends[-1] <= stories.hbm_bytes
    names = [name for _, _, name in parts]
    assert {"code", "logits (output)", "arguments", "weights, tables"} <= set(names)
    assert sum(name.endswith("(kv)") for name in names) == 2 * LAYERS


def test_a_program_without_a_model():
    (cost,) = costs(assemble(".config tiny\nmatmul m=3, k=9, n=5\nhalt\n", "p.s"))
    assert (cost.node, cost.macs, cost.matrix_cycles, cost.executed) == ("", 3 * 9 * 5, 6, 1)


def test_too_many_tokens(stories):
    with pytest.raises(InputError, match=r"^60 tokens after 5 exceed the program's context of 64$"):
        costs(stories, 60, 5)
    encoder = compile_file(model_path("exporters/bert/optimum_op18"), TINY, 64)
    assert totals(costs(encoder, 64))["macs"] > 0
    with pytest.raises(InputError, match=r"^an encoder has no past tokens$"):
        costs(encoder, 1, 1)


def test_the_command(stories, tmp_path: Path, monkeypatch, capsys):
    file = tmp_path / "s.jx"
    save_image(stories, file)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["jalapeno", "inspect", str(file), *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    status, out, _ = call("--json", "--past", "20")
    data = json.loads(out)
    assert (status, data["past"], data["meta"]["source"]) == (0, 20, "model.onnx")
    assert data["totals"]["macs"] == sum(node["macs"] for node in data["nodes"])
    assert data["meta"]["sram_peak"] <= TINY.sram_bytes
    status, _, err = call("--explain", "layers.0/self_attn/q_proj/MatMul")
    words = " ".join(err.split())  # lines are as wide as the terminal
    node = 'node "/model/layers.0/self_attn/q_proj/MatMul" (MatMul)'
    assert words.startswith(f"{node}: linear; activations bf16, weights bf16 instr")
    assert "4,096 MACs, 8,192 bytes read" in words
    status, _, err = call("--explain", "layers.0/self_attn/Shape")
    assert err.count("node ") == " ".join(err.split()).count("): worked out when compiled")
    for name in ("r.html", "r.json"):
        assert call("--report", str(tmp_path / name)) == (0, "", "")
    assert json.loads((tmp_path / "r.json").read_text())["nodes"] == costs_of(stories)
    page = (tmp_path / "r.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    nodes = onnx.load(model_path("stories260k/optimum_op18")).graph.node
    assert len(data["meta"]["fates"]) == len(nodes)
    assert all(node.name in page for node in nodes)
    status, out, err = call("--node", "layers.0/self_attn/q_proj")
    assert status == 0
    made = [line.split()[1] for line in out.splitlines()]
    assert set(made) == {"load", "matmul", "vmov"}
    assert made.count("matmul") == made.count("vmov") == 4  # a pass begins with small blocks
    status, _, err = call("--node", "nowhere")
    assert status == 1
    assert "no node's name contains 'nowhere'" in err
