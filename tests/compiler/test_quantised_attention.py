"""Attention whose past, keys and scores are quantised as onnxruntime's tools do not write it."""

import numpy as np
import pytest

from compiler.canonical import canonicalise
from compiler.errors import CompileError
from compiler.pipeline import compile_graph
from sim.backends import make_backend
from sim.runtime import Session
from tests.compiler.decoder import decoder, feeds, past_of
from tests.compiler.interpret import interpret
from tests.compiler.test_compiled import TINY
from tests.compiler.test_quantised import reference
from tests.support import rng

PAST = """
    k_code = QuantizeLinear(k, step, point)  k_float = DequantizeLinear(k_code, step, point)
    past_code = QuantizeLinear(past_0_key, {0}, point)
    past_float = DequantizeLinear(past_code, {0}, point)
    present_0_key = Concat<axis = 2>(past_float, k_float)
    present_0_value = Concat<axis = 2>(past_0_value, v)"""
GRID = {"step": np.float32(0.07), "other": np.float32(0.08), "point": np.uint8(111)}


def test_a_past_that_is_quantised_first() -> None:
    model = decoder(GRID, cache=PAST.format("step"))
    graph, random = canonicalise(model, 40, "m"), rng(6)
    assert len(graph.caches[0].key_grids) == 1
    assert not graph.caches[0].value_grids
    ids, past = random.integers(0, 19, 5), past_of(model, 9, random)
    wanted = reference(model).run(["logits", "present_0_key"], feeds(model, ids, past))
    found = interpret(graph, ids, past)
    for name, array in zip(("logits", "present_0_key"), wanted, strict=True):
        assert np.abs(found[name] - array).max() < 1e-6 * np.abs(array).max()


def test_keys_that_are_quantised_twice() -> None:
    """The host rounds those of the past twice, too."""
    scores = """
        code_1 = QuantizeLinear(keys_t, step, point)  keys_1 = DequantizeLinear(code_1, step, point)
        half_keys = Mul(keys_1, half)
        code_2 = QuantizeLinear(half_keys, other, point)
        keys_2 = DequantizeLinear(code_2, other, point)
        raw = MatMul(q, keys_2)  masked = Add(raw, mask)  weights = Softmax<axis = -1>(masked)"""
    model = decoder(GRID, scores=scores)
    graph, random = canonicalise(model, 40, "m"), rng(6)
    assert len(graph.caches[0].key_grids) == 2
    ids, past = random.integers(0, 19, 5), past_of(model, 9, random)
    (wanted,) = reference(model).run(["logits"], inputs := feeds(model, ids, past))
    found = interpret(graph, ids, past)["logits"]
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()
    session = Session(compile_graph(graph, TINY), make_backend("functional"))
    keys = session.run(inputs)["present_0_key"]
    np.testing.assert_array_equal(keys, interpret(graph, ids, past)["present_0_key"])


def test_a_past_on_another_grid_is_refused() -> None:
    message = "past and new keys must be quantised alike"
    with pytest.raises(CompileError, match=message):
        canonicalise(decoder(GRID, cache=PAST.format("other")), 40, "m")


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ("""raw = MatMul(q, keys_t)  scaled = Mul(raw, half)  masked = Add(scaled, mask)
            code = QuantizeLinear(masked, step)  float = DequantizeLinear(code, step)
            weights = Softmax<axis = -1>(float)""", "before they are capped or masked"),
        ("""raw = MatMul(q, keys_t)  code = QuantizeLinear(raw, step, point)
            float = Cast<to = 1>(code)  masked = Add(float, mask)
            weights = Softmax<axis = -1>(masked)""", "must be dequantised first"),
        ("""key_code = QuantizeLinear(keys_t, step, point)  key_float = Cast<to = 1>(key_code)
            raw = MatMul(q, key_float)  masked = Add(raw, mask)
            weights = Softmax<axis = -1>(masked)""", "codes of keys must be dequantised first"),
    ],
)  # fmt: skip
def test_attention_that_is_refused(scores: str, message: str) -> None:
    extra = {"step": np.float32(0.1), "point": np.uint8(7)}
    with pytest.raises(CompileError, match=message):
        canonicalise(decoder(extra, scores=scores), 40, "m")
