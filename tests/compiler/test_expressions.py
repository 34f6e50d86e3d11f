"""Canonical operators agree with onnxruntime, expression by expression, whoever exported them."""

import math

import numpy as np
import onnxruntime
import pytest

from compiler.canonical import canonicalise
from tests.compiler.agreement import SIZES, difference, kinds
from tests.compiler.decoder import (
    MODEL,
    decoder,
    decoder_without_cache,
    decoder_without_positions,
    feeds,
    past_of,
)
from tests.compiler.interpret import Interpreter, interpret

EXPRESSIONS = [
    "x = Div(embedded, gain)",
    "x = Div(gain, embedded)",
    "x = Div(nine, embedded)",
    "b = Tanh(embedded) s = Sigmoid(b) t = Sqrt(s) x = Div(embedded, t)",
    "b = Tanh(embedded) s = Sigmoid(b) t = Sqrt(s) x = Div(one_f, t)",
    "b = Tanh(embedded) s = Sigmoid(b) t = Sqrt(s) x = Reciprocal(t)",
    "x = Sub(embedded, gain)",
    "x = Sub(gain, embedded)",
    "s = ReduceMax(embedded, two) x = Sub(s, embedded)",
    "s = ReduceMean(embedded, minus) x = Sub(embedded, s)",
    "s = ReduceSum(embedded, minus) x = Mul(s, embedded)",
    "s = ReduceSum<keepdims = 0>(embedded, two) t = Unsqueeze(s, two) x = Max(t, embedded)",
    "x = Max(embedded, gain)",
    "x = Min(nine, embedded)",
    "x = Softmax<axis = 2>(embedded)",
    "x = Erf(embedded)",
    "x = Relu(embedded)",
    "x = Abs(embedded)",
    "x = Clip(embedded, half)",
    "n = Neg(nine) x = Clip(embedded, n, half)",
    "x = Clip(embedded, , nine)",
    "b = Div(embedded, root_2) c = Erf(b) d = Add(c, one_f) e = Mul(embedded, d) x = Mul(e, half)",
    "x = Softmax<axis = -1>(embedded)",
    "x = Pow(embedded, two_f)",
    "x = Pow(embedded, three_f)",
    "x = LayerNormalization(embedded, gain)",
    "x = LayerNormalization<axis = 2, epsilon = 0.1>(embedded, gain, square_row)",
    "h = Reshape(embedded, heads_6) n = LayerNormalization(h, gain_4) x = Reshape(n, flat_shape)",
    # Features of a product, as exporters cut one product into several values.
    "p = MatMul(embedded, square_2) a, x = Split<axis = 2, num_outputs = 2>(p)",
    "p = MatMul(embedded, square_2) a = Slice(p, one, big, two, two) b = Mul(a, gain) "
    "c = Slice(p, zero, big, two, two) x = Max(b, c)",
    "p = MatMul(embedded, square_2) pb = Add(p, gain_2) r = Mul(pb, half) s = Tanh(r) "
    "h = Reshape(s, by_pairs) i = Transpose<perm = [0, 1, 3, 2]>(h) x_2 = Reshape(i, flat_2) "
    "a, b = Split<axis = 2, num_outputs = 2>(x_2) x = Mul(b, a)",
    "p = MatMul(embedded, square_2) h = Reshape(p, by_pairs) m = Mul(h, pair) "
    "f = Reshape(m, flat_2) a, x = Split<axis = 2, num_outputs = 2>(f)",
    "b = Tanh(embedded) s = Sigmoid(b) x = Pow(s, minus_half)",
    "s = Tanh(embedded) x = Exp(s)",
    "x = Neg(embedded)",
    "f = Reshape(embedded, by_row) x_2d = Gemm<transB = 1, alpha = 0.5>(f, square, gain) "
    "x = Unsqueeze(x_2d, zero)",
    "p = Gather(positions_table, position_ids) x = Add(embedded, p)",
    # A number in the activation's own shape, as a norm without a scale has ones.
    "h = Reshape(embedded, heads_6) s = Shape(h) z = ConstantOfShape(s) t = Sub(z, half) "
    "m = Mul(h, t) x = Reshape(m, flat_shape)",
    "t = Transpose<perm = [0, 2, 1]>(embedded) u = Mul(t, gain_column) "
    "x = Transpose<perm = [0, 2, 1]>(u)",
    "h = Reshape(embedded, heads_6) m = Mul(h, gain_heads) n = ReduceMax(m, three) "
    "d = Div(m, n) x = Reshape(d, flat_shape)",
    "h = Reshape(embedded, heads_6) m = ReduceMean<keepdims = 0>(h, three) "
    "n = MatMul(m, widen) x = Add(embedded, n)",
]


@pytest.mark.parametrize("feature", EXPRESSIONS)
def test_an_expression_agrees_with_onnxruntime(feature):
    random = np.random.default_rng(4)
    numbers = {
        "one_f": 1,
        "two_f": 2,
        "three_f": 3,
        "nine": 9.5,
        "root_2": 2**0.5,
        "minus_half": -0.5,
    }
    extra = {
        **{name: np.array(value, dtype=np.float32) for name, value in numbers.items()},
        "minus": np.array([-1]),
        "by_row": np.array([-1, MODEL]),
        "heads_6": np.array([1, -1, 6, 4]),
        "square_row": random.standard_normal(MODEL, dtype=np.float32),
        "gain_2": random.standard_normal(2 * MODEL, dtype=np.float32),
        "gain_4": random.standard_normal(4, dtype=np.float32),
        "pair": random.standard_normal(2, dtype=np.float32),
        "square_2": random.standard_normal((MODEL, 2 * MODEL), dtype=np.float32),
        "by_pairs": np.array([1, -1, MODEL, 2]),
        "flat_2": np.array([1, -1, 2 * MODEL]),
        "square": random.standard_normal((MODEL, MODEL), dtype=np.float32),
        "widen": random.standard_normal((6, MODEL), dtype=np.float32),
        "positions_table": random.standard_normal((100, MODEL), dtype=np.float32),
        "gain_column": random.standard_normal((MODEL, 1), dtype=np.float32),
        "gain_heads": random.standard_normal((6, 1), dtype=np.float32),
    }
    assert difference(decoder(extra, feature=feature), 64, SIZES, seed=1) < 2e-5


@pytest.mark.parametrize("form", ["none", "tanh"])
def test_gelu_agrees_with_onnxruntime(form):
    """It came with operator set 20; an outlier feature reaches far behind where it is flat."""
    model = decoder(feature=f'x = Gelu<approximate = "{form}">(embedded)')
    model.opset_import[0].version = 20
    assert difference(model, 64, SIZES, seed=1) < 2e-5


def test_erf_is_right_everywhere():
    """Against float64: within twice the polynomial's error, as fp32 adds its own; flat far out."""
    ramp = np.array([-np.inf, -1e30, -9, 0, 1e-30, 9, np.inf, *np.linspace(-6, 6, 5993)])
    table = ramp.astype(np.float32).reshape(-1, MODEL)
    model = decoder({"table": table}, feature="x = Erf(embedded)")
    graph = canonicalise(model, 512, "model")
    run = Interpreter(graph, np.arange(len(table)), past_of(model, 0, np.random.default_rng(0)))
    run.run()
    name = [op.output.name for op in graph.ops if op.sources[0].op_type == "Erf"][-1]
    wanted = np.vectorize(math.erf)(table.astype(np.float64))
    assert np.abs(run.values[name][:, 0] - wanted).max() < 1.5e-7 + 8 * 1.5 * 2**-24


def test_rms_normalization_agrees_with_its_definition():
    """It came with operator set 23, which onnxruntime need not know."""
    model = decoder(feature="x = RMSNormalization<epsilon = 0.01>(embedded, gain)")
    model.opset_import[0].version = 23
    graph = canonicalise(model, 64, "model")
    written = decoder(
        {"epsilon": np.float32(0.01), "minus": np.array([-1])},
        feature="a = Mul(embedded, embedded) b = ReduceMean(a, minus) c = Add(b, epsilon) "
        "d = Sqrt(c) e = Div(embedded, d) x = Mul(e, gain)",
    )
    ids, past = np.arange(9), past_of(written, 4, np.random.default_rng(5))
    wanted = onnxruntime.InferenceSession(written.SerializeToString()).run(
        ["logits"], feeds(written, ids, past)
    )[0]
    np.testing.assert_allclose(interpret(graph, ids, past)["logits"], wanted, rtol=2e-4, atol=2e-4)


def test_reciprocal_of_a_square_root_is_one_operator():
    model = decoder(feature="s = Sigmoid(embedded) t = Sqrt(s) x = Div(embedded, t)")
    assert kinds(model)[1:4] == ["sigmoid", "rsqrt", "mul"]


ALL_AT_ONCE = {
    "as it is": {},
    "keys times a number": {"scores": """
        key_scaled = Mul(keys_t, half) raw = MatMul(q, key_scaled)
        masked = Add(raw, mask) weights = Softmax<axis = -1>(masked)"""},
    "one product": {"qkv": """
        q_flat = MatMul(x, wq)  kv = MatMul(x, wkv)
        k_flat, v_flat = Split<axis = 2, num_outputs = 2>(kv)
        q_heads = Reshape(q_flat, q_shape)  k_heads = Reshape(k_flat, kv_shape)
        v_heads = Reshape(v_flat, kv_shape)
        q_raw = Transpose<perm = [0, 2, 1, 3]>(q_heads)
        k_raw = Transpose<perm = [0, 2, 1, 3]>(k_heads)
        v = Transpose<perm = [0, 2, 1, 3]>(v_heads)"""},
}  # fmt: skip


@pytest.mark.parametrize("case", ALL_AT_ONCE)
def test_without_cache(case):
    """The operators are those of the model with its cache; the context of a prefill agrees."""
    extra = {"wkv": np.random.default_rng(9).standard_normal((MODEL, 16)).astype(np.float32)}
    model = decoder_without_cache(extra, **ALL_AT_ONCE[case])
    assert difference(model, 64, [(9, 0), (1, 0), (30, 0)], seed=2) < 2e-5
    if not ALL_AT_ONCE[case]:
        assert sorted(kinds(model)) == sorted(kinds(decoder()))


def test_without_mask_and_position_inputs():
    assert difference(decoder_without_positions(), 64, SIZES, seed=2) < 2e-5
