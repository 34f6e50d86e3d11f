"""The canonical graph: agrees with onnxruntime, whoever exported it; refuses what it must."""

import math

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from compiler.canonical import canonicalise
from compiler.errors import CompileError
from tests.compiler.agreement import SIZES, difference
from tests.compiler.decoder import (
    MODEL,
    decoder,
    decoder_without_cache,
    decoder_without_positions,
    feeds,
    past_of,
)
from tests.compiler.interpret import Interpreter, interpret


def kinds(model: onnx.ModelProto) -> list[str]:
    return [op.kind for op in canonicalise(model, 64, "model").ops]


def refused(model: onnx.ModelProto) -> str:
    with pytest.raises(CompileError) as error:
        canonicalise(model, 64, "model.onnx")
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith("model.onnx: ")
    return text.removeprefix("model.onnx: ")


# Construct


def test_the_decoder_becomes_these_operators():
    assert kinds(decoder()) == [
        *("embed", "mul", "linear", "linear", "linear"),
        *("view", "mul", "rotate", "mul", "add"),  # queries
        *("view", "mul", "rotate", "mul", "add"),  # keys
        *("view", "attention", "view", "linear", "add", "linear"),
    ]


def test_graph_prints_one_line_an_operator():
    graph = canonicalise(decoder(), 64, "model")
    lines = str(graph).splitlines()
    assert lines[0] == "model: 21 operators, context 64"
    assert "  $wq float32[24, 24]" in lines
    assert "  @cos float32[64, 4]" in lines
    assert "  cache 0: past_0_key, past_0_value (2×4)" in lines
    assert "  %x(1×24) = mul(%embedded(1×24), $gain)  # x (Mul)" in lines
    assert lines[-1] == "  logits = %logits(1×19)"


def test_dead_operators_and_their_constants_are_dropped():
    graph = canonicalise(decoder({"waste": np.ones((24, 7), np.float32)}), 64, "model")
    wasted = decoder(
        {"waste": np.ones((24, 7), np.float32)},
        logits="w = MatMul(y, waste) logits = MatMul(y, head)",
    )
    assert canonicalise(wasted, 64, "model").ops == graph.ops
    assert "waste" not in canonicalise(wasted, 64, "model").constants


@pytest.mark.parametrize("max_context", [1, 2, 5, 300])
def test_tables_have_a_row_for_each_position(max_context):
    table = canonicalise(decoder(), max_context, "model").tables["cos"]
    angle = np.arange(max_context)[:, None] * np.array([1, 0.1, 1, 0.1])
    assert table.shape == (max_context, 4)
    np.testing.assert_allclose(table, np.cos(angle), atol=3e-5)


# Reject

FEATURES = {
    "x = Softplus(embedded)": "unsupported operators: Softplus (x); export the model without them",
    "a = Elu(embedded) b = Celu(a) c = Elu(b) d = Elu(c) x = Elu(d)": (
        "unsupported operators: Celu (b), Elu (a, c, d and 1 more); export the model without them"
    ),
    "x = Pow(embedded, four_f)": (
        'node "x" (Pow): the exponent must be one of 2.0, 3.0, 0.5, -0.5, -1.0, 1.0, not 4.0'
    ),
    "x = LayerNormalization<axis = 1>(embedded, gain)": (
        'node "x" (LayerNormalization): it must be over the last axis, features of one token, not '
        "from axis 1"
    ),
    "x = RMSNormalization(embedded, gain)": (
        'node "x" (RMSNormalization): operator set 18, which the model imports, has no such '
        "operator"
    ),
    "n, mean = LayerNormalization(embedded, gain) x = Sub(n, mean)": (
        'node "n" (LayerNormalization): its statistics cannot be used: mean'
    ),
    "n = IsNaN(embedded) x = Where(n, embedded, embedded)": (
        'node "n" (IsNaN): it is supported in attention only'
    ),
    "r = ReduceSum(embedded, one) x = Add(embedded, r)": (
        'node "r" (ReduceSum): it must reduce the last axis, features of one token, not axes [1]'
    ),
    "r = Slice(embedded, one, big, two) s = Slice(embedded, zero, one, two) "
    "t = Concat<axis = 2>(r, s) x = Mul(t, gain)": (
        'node "x" (Mul): its input from "t" (Concat) rearranges the features of a token; only '
        "reinterpreting them, rotating halves of a head, and taking features of a product can run "
        "on the chip"
    ),
    "a = Slice(embedded, one, big, one) b = Slice(embedded, zero, one, one) "
    "t = Concat<axis = 1>(a, b) x = Mul(t, gain)": (
        'node "x" (Mul): its input from "t" (Concat) mixes tokens or has elements of no one token'
    ),
    "a = Slice(embedded, zero, one, one) b = Slice(embedded, one, big, one) c = Neg(a) "
    "t = Concat<axis = 1>(c, b) x = Mul(t, gain)": (
        'node "x" (Mul): its input from "t" (Concat) mixes tokens or has elements of no one token'
    ),
    "a = Shape(attention_mask) b = ReduceMax<keepdims = 0>(a) c = Greater(b, forty) "
    "s = Where(c, half, nought) x = Mul(embedded, s)": (
        'node "x" (Mul): "s" depends on the number of tokens, but has no row for each'
    ),
    "a = Slice(input_ids, zero, one, one) b = Slice(input_ids, one, big, one) "
    "i = Concat<axis = 1>(b, a) x = Gather(table, i)": (
        'node "x" (Gather): it must select rows by input_ids in their own order'
    ),
    "t = Concat<axis = 1>(embedded, gain_3d) x = Slice(t, zero, minus, one)": (
        'node "t" (Concat): it joins a value with constants; only pieces of one value can be joined'
    ),
    "c = Cast<to = 7>(embedded) d = Cast<to = 1>(c) x = Mul(d, gain)": (
        'node "c" (Cast): a cast of token values must be to a floating-point type'
    ),
    "i = Cast<to = 1>(input_ids) j = Unsqueeze(i, two) x = Mul(embedded, j)": (
        'node "x" (Mul): token ids can only select rows of the embedding'
    ),
    "f = Cast<to = 1>(input_ids) n = Shape(f) "
    "m = Cast<to = 1>(n) s = ReduceMax<keepdims = 0>(m) x = Mul(embedded, s)": (
        'node "x" (Mul): "s" depends on the number of tokens, but has no row for each'
    ),
    "p = CumSum(position_ids, one_scalar) f = Gather(long, p) r = Unsqueeze(f, two) "
    "x = Mul(embedded, r)": 'node "x" (Mul): "r" depends on more than the position of each token',
}


@pytest.mark.parametrize("feature", FEATURES)
def test_reject_by_node(feature):
    extra = {
        "four_f": np.float32(4),
        "gain_3d": np.ones((1, 1, MODEL), np.float32),
        "minus": np.array([-1]),
        "forty": np.array(40),
        "long": np.arange(5000, dtype=np.float32),
    }
    assert FEATURES[feature] in refused(decoder(extra, feature=feature))


def test_reject_a_model_that_shows_half_a_cache():
    model = decoder_without_cache()
    model.graph.output.append(helper.make_tensor_value_info("present_0_key", 1, [1, 2, "T", 4]))
    assert refused(model) == "the KV cache of layer 0 needs past and present key and value"


WITHOUT_CACHE = {
    "bidirectional": ({"mask": "mask = Identity(nought)"}, "is not causal for 7 tokens after 0"),
    "tokens mixed": (
        {"cache": "present_0_key = Identity(k) w = Slice(v, zero, one, two) "
         "u = Slice(v, one, big, two) present_0_value = Concat<axis = 2>(u, w)"},
        "keys and values must have 6 heads, of one token each",
    ),
    "no attention": ({"output": "y = Add(embedded, x)"}, "it has no attention"),
}  # fmt: skip


@pytest.mark.parametrize("case", WITHOUT_CACHE)
def test_reject_without_cache(case):
    parts, text = WITHOUT_CACHE[case]
    assert text in refused(decoder_without_cache(**parts))


def test_reject_a_fixed_batch_length_or_head_count():
    model = decoder()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    assert '"input_ids" must be [batch 1 or free, free length], not [2, S]' in refused(model)
    model = decoder()
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 8
    assert '"input_ids" must be [batch 1 or free, free length], not [1, 8]' in refused(model)
    model = decoder()
    model.graph.input[3].type.tensor_type.shape.dim[1].dim_param = "H"
    assert '"past_0_key" must be [batch, heads, past, width], heads and width' in refused(model)


def test_reject_inputs_and_outputs_without_a_role():
    model = decoder()
    model.graph.input.append(helper.make_tensor_value_info("use_cache", 9, [1]))
    assert refused(model).startswith("inputs without a known role: use_cache; export without")
    model = decoder()
    model.graph.output.append(helper.make_tensor_value_info("y", 1, ["B", "S", MODEL]))
    assert refused(model).startswith("outputs without a known role: y; export without")
    model = decoder()
    del model.graph.output[1]
    assert refused(model) == "the KV cache of layer 0 needs past and present key and value"


def test_reject_a_context_of_nothing():
    with pytest.raises(ValueError, match=r"^max_context must be at least 1, not 0$"):
        canonicalise(decoder(), 0, "model")


# Agree with onnxruntime

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
