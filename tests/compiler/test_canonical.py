"""The canonical graph: what it is made of, and what is refused."""

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler.canonical import canonicalise
from compiler.errors import CompileError
from compiler.graph import Scalar
from tests.compiler.agreement import kinds
from tests.compiler.decoder import (
    MODEL,
    decoder,
    decoder_without_cache,
)


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


def test_a_mask_as_a_factor_is_a_number():
    """What is the same at every position is no table."""
    feature = "m = Unsqueeze(attention_mask, two) f = Cast<to = 1>(m) x = Mul(embedded, f)"
    model = decoder_without_cache(feature=feature)
    op = next(op for op in canonicalise(model, 64, "model").ops if op.kind == "mul")
    assert op.inputs[1] == Scalar(1.0)


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
    "x = Clip(embedded, gain)": 'node "x" (Clip): its limit "gain" must be one number',
    "n = IsNaN(embedded) x = Where(n, embedded, embedded)": (
        'node "n" (IsNaN): it is supported in attention only'
    ),
    "r = ReduceSum(embedded, one) x = Add(embedded, r)": (
        'node "r" (ReduceSum): it must reduce the last axis, features of one token, not axes [1]'
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
    "a bias by length": (
        {"scores": "raw = MatMul(q, keys_t)  scaled = Mul(raw, half)  p = Mul(index, total) "
         "b = Cast<to = 1>(p) masked = Add(scaled, b) weights = Softmax<axis = -1>(masked)"},
        "what is added to its scores must depend on heads, positions and keys",
    ),
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
    model.graph.output[0].name = model.graph.node[-1].output[0] = "scores_of_words"
    assert refused(model).startswith('a decoder needs the output "logits"; it has scores_of_words')
    model = decoder()
    del model.graph.output[1]
    assert refused(model) == "the KV cache of layer 0 needs past and present key and value"


def test_reject_a_context_of_nothing():
    with pytest.raises(ValueError, match=r"^max_context must be at least 1, not 0$"):
        canonicalise(decoder(), 0, "model")
