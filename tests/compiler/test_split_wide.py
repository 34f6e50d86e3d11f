"""Wide tensors between products, part by part: which, and against onnxruntime."""

import numpy as np
import onnx
import pytest

from compiler.canonical import canonicalise
from compiler.graph import Constant
from compiler.importer import load_model
from compiler.pipeline import compile_graph
from compiler.split_wide import split_wide
from compiler.storage import Choice, Storage
from isa.config import load_config
from sim.backends import make_backend
from sim.check import check_image
from sim.runtime import Session
from tests.compiler.decoder import feeds, past_of
from tests.compiler.models import model_path
from tests.compiler.test_compiled import BOUND, reference
from tests.support import rng

MODEL = "glass_en/optimum_op18"  # hidden 128, between the products 341
LAYERS = 4
TINY = load_config("tiny")
NARROW = TINY.replace(name="narrow", sram_bytes=1 << 17)  # 8 tokens: parts of 256


def graph_of():
    return canonicalise(load_model(model_path(MODEL)), 64, "model")


def test_parts_of_products_cover_their_matrices():
    graph = graph_of()
    split = split_wide(graph, NARROW, 8)
    covered: dict[str, np.ndarray] = {}
    assert split.ops != graph.ops
    for op in split.ops:
        if op.kind == "linear":
            _, weights = op.inputs
            assert isinstance(weights, Constant)
            seen = covered.setdefault(weights.name, np.zeros(graph.constants[weights.name].shape))
            rows, cols = (op.attributes.get(name, (0, None)) for name in ("rows", "cols"))
            seen[slice(*rows), slice(*cols)] += 1
            sizes = op.inputs[0].width, op.output.width
            assert seen[slice(*rows), slice(*cols)].shape == sizes
    assert all((seen == 1).all() for seen in covered.values())
    assert (
        sum("cols" in op.attributes for op in split.ops) == LAYERS * 2 * 2
    )  # gate and up, two parts


def test_what_fits_stays_whole():
    graph = graph_of()
    assert split_wide(graph, TINY, 8) is graph


@pytest.mark.parametrize("kind", ["bf16", "mxfp4", "int8"])
def test_results_of_parts(kind):
    """Sums in another order make bf16 roundings fall otherwise, each by 2^-8 of a value at most:
    whole and parts differ by less than bf16 does from onnxruntime's fp32, which BOUND derives for
    a layer."""
    storage = Storage(weights=Choice((("*", kind),)))
    model, random = onnx.load(model_path(MODEL)), rng(5)
    inputs = feeds(model, random.integers(0, 400, 21), past_of(model, 6, random))
    results = []
    for config in (TINY, NARROW):
        image = compile_graph(graph_of(), config, storage=storage)
        assert check_image(image) > 0
        results.append(Session(image, make_backend("functional")).run(inputs)["logits"])
    whole, parts = results
    assert np.isfinite(parts).all()
    assert np.abs(whole - parts).mean() < BOUND * whole.std()
    if kind == "bf16":
        (wanted,) = reference(model).run(["logits"], inputs)
        assert np.abs(parts - wanted).mean() < LAYERS * BOUND * wanted.std()
