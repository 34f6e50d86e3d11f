"""Results that take less room: sums in place, queries in parts."""

import numpy as np
import onnx
import pytest

from compiler import lower as lowering, split_wide
from compiler.add_products import add_products
from compiler.canonical import canonicalise
from compiler.graph import Constant, Graph, Op, Output, Tensor
from compiler.importer import load_model
from compiler.pipeline import compile_graph
from compiler.split_heads import split_heads
from compiler.storage import Choice, Storage
from isa.config import load_config
from sim.backends import make_backend
from sim.check import check_image
from sim.runtime import Session
from tests.compiler.decoder import feeds, past_of
from tests.compiler.models import model_path
from tests.support import rng

TINY = load_config("tiny")
X, Y, Z = (Tensor(name, 1, 16) for name in ("x", "y", "z"))
W = Constant("w")
START = Op("features", (), X, (), {"input": "x"})


def graph_of(name: str = "glass_en/optimum_op18") -> Graph:
    return canonicalise(load_model(model_path(name)), 64, "model")


def small(*ops: Op, outputs: tuple[Tensor, ...] = (Z,)) -> Graph:
    found = tuple(Output(x.name, x, 1) for x in outputs)
    return Graph("small", 8, ("x",), (START, *ops), {"w": np.eye(16)}, {}, (), found)


@pytest.mark.parametrize("read_again", [False, True])
def test_a_product_takes_the_term_that_it_is_added_to(read_again):
    product = Op("linear", (X, W), Y, ())
    added = Op("add", (Y, X), Z, ())
    outputs = (Y, Tensor("out", 1, 16)) if read_again else (Tensor("out", 1, 16),)
    last = Op("mul", (Z, Z), Tensor("out", 1, 16), ())
    ops = add_products(small(product, added, last, outputs=outputs)).ops
    assert len(ops) == (4 if read_again else 3)
    if not read_again:
        assert (ops[1].kind, ops[1].inputs, ops[1].output) == ("linear", (X, W, X), Z)


def test_only_one_of_two_products_takes_the_other():
    first, second = Op("linear", (X, W), Y, ()), Op("linear", (X, W), Tensor("v", 1, 16), ())
    added = Op("add", (second.output, Y), Z, ())
    last = Op("mul", (Z, Z), Tensor("out", 1, 16), ())
    ops = add_products(small(first, second, added, last, outputs=(last.output,))).ops
    assert [op.kind for op in ops] == ["features", "linear", "linear", "mul"]
    assert ops[2].inputs == (X, W, Y)


def program(graph: Graph, kind: str = "bf16"):
    image = compile_graph(graph, TINY, storage=Storage(weights=Choice((("*", kind),))))
    assert check_image(image) > 0
    return image


@pytest.mark.parametrize(
    "name",
    ["glass_en/optimum_op18", "exporters/qwen3/optimum_op18", "exporters/llama/optimum_op18"],
)
@pytest.mark.parametrize("kind", ["bf16", "int4"])
def test_bits_are_those_of_results_in_fp32(name, kind, monkeypatch):
    """Added where it drains or behind it, all heads or some at a time: no bit differs."""
    model, random = onnx.load(model_path(name)), rng(7)
    inputs = feeds(model, random.integers(0, 100, 11), past_of(model, 6, random))
    graph = graph_of(name)
    monkeypatch.setattr(split_wide, "_SRAM_PART", 1024)
    heads = split_heads(graph, TINY, 8).ops
    assert len(heads) > len(graph.ops), "queries come in parts"
    monkeypatch.setattr(lowering, "split_wide", lambda graph, config, chunk: graph)
    found = Session(program(graph, kind), make_backend("functional")).run(inputs)["logits"]
    monkeypatch.setattr(lowering, "add_products", lambda graph: graph)
    monkeypatch.setattr(lowering, "split_heads", lambda graph, config, chunk: graph)
    plain = program(graph, kind)
    wanted = Session(plain, make_backend("functional")).run(inputs)["logits"]
    np.testing.assert_array_equal(found, wanted)
