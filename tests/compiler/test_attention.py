"""Attention in every spelling; what is not attention over the cache is refused."""

import numpy as np
import onnx
import pytest

from compiler.canonical import canonicalise
from compiler.errors import CompileError
from compiler.graph import Op
from tests.compiler.agreement import SIZES, difference
from tests.compiler.decoder import KV_HEADS, PARTS, WIDTH, decoder

EXTRA = {
    "lowest": np.float32(np.finfo(np.float32).min),
    "soft": np.float32(-1e4),
    "true": np.array(True),
    "window": np.array(40, dtype=np.int64),
    "grouped": np.array([1, KV_HEADS, 3, -1, WIDTH]),
    "ungrouped": np.array([1, 6, -1, WIDTH]),
    "none": np.array(-0.5, dtype=np.float32),
}


def attention_of(model: onnx.ModelProto, max_context: int = 64) -> Op:
    ops = canonicalise(model, max_context, "model").ops
    (op,) = (op for op in ops if op.kind == "attention")
    return op


SCALES = {
    "raw = MatMul(q, keys_t) scaled = Div(raw, half)": 2.0,
    "raw = MatMul(q, keys_t) scaled = Mul(half, raw)": 0.5,
    "q_half = Mul(q, half) raw = MatMul(q_half, keys_t) scaled = Mul(raw, half)": 0.25,
    "k_half = Mul(keys_t, half) q_half = Mul(half, q) scaled = MatMul(q_half, k_half)": 0.25,
    "k_half = Mul(keys_t, half) k_4th = Div(k_half, none) scaled = MatMul(q, k_4th)": -1.0,
    "raw = MatMul(q, keys_t) r_half = Mul(raw, half) scaled = Mul(half, r_half)": 0.25,
    "k_half = Div(keys_t, half) scaled = MatMul(q, k_half)": 2.0,
    "n = Neg(q) q_half = Mul(n, none) scaled = MatMul(q_half, keys_t)": 0.5,
}


PLAIN = {"layer": 0, "behind": -1, "ahead": 0, "softcap": 0.0}


@pytest.mark.parametrize("scores", SCALES)
def test_scale_is_the_product_of_all_numbers(scores):
    rest = " masked = Add(scaled, mask) weights = Softmax<axis = -1>(masked)"
    model = decoder(EXTRA, scores=scores + rest)
    op = attention_of(model)
    assert op.attributes == {**PLAIN, "scale": SCALES[scores]}
    assert [str(x) for x in op.inputs] == ["%q(6×4)", "%k(2×4)", "%v(2×4)"]
    assert difference(model, 64, SIZES, seed=5) < 2e-5


MASKED = [
    "masked = Where(allowed, scaled, forbidden) weights = Softmax<axis = -1>(masked)",
    "masked = Where(allowed, scaled, lowest) weights = Softmax<axis = 3>(masked)",
    "no = Not(allowed) masked = Where(no, lowest, scaled) weights = Softmax(masked)",
    "masked = Add(mask, scaled) again = Add(masked, mask) weights = Softmax(again)",
    "masked = Add(scaled, mask) w = Softmax(masked) n = IsNaN(w) weights = Where(n, nought, w)",
    "masked = Add(scaled, mask) w = Softmax(masked) c = Cast<to = 1>(w) weights = Identity(c)",
]


@pytest.mark.parametrize("masked", MASKED)
def test_mask_forms(masked):
    model = decoder(EXTRA, scores="raw = MatMul(q, keys_t) scaled = Mul(raw, half) " + masked)
    assert difference(model, 64, SIZES, seed=6) < 2e-5


def test_grouped_queries_instead_of_repeated_keys():
    repeat = """
        mask_size = Shape(attention_mask)  total = Slice(mask_size, one, two)
        keys = Unsqueeze(present_0_key, two)  values = Unsqueeze(present_0_value, two)
        keys_t = Transpose<perm = [0, 1, 2, 4, 3]>(keys)"""
    scores = """
        q_grouped = Reshape(q, grouped)  raw = MatMul(q_grouped, keys_t)  scaled = Mul(raw, half)
        masked = Add(scaled, mask)  weights = Softmax<axis = -1>(masked)"""
    output = """
        heads_5d = MatMul(weights, values)  heads = Reshape(heads_5d, ungrouped)
        by_token = Transpose<perm = [0, 2, 1, 3]>(heads)
        flat = Reshape(by_token, flat_shape)  attended = MatMul(flat, wo)
        y = Add(embedded, attended)"""
    model = decoder(EXTRA, repeat=repeat, scores=scores, output=output)
    assert attention_of(model).output.groups == 6
    assert difference(model, 64, SIZES, seed=7) < 2e-5


REFUSED = {
    ("mask", "allowed = LessOrEqual(index, rows_t)", "allowed = Less(index, rows_t)"): (
        'node "weights" (Softmax): its mask forbids a token every key'
    ),
    ("mask", "allowed = LessOrEqual(index, rows_t)", "allowed = GreaterOrEqual(index, rows_t)"): (
        'node "weights" (Softmax): its mask is not causal for 3 tokens after 61'
    ),
    ("mask", "Where(allowed, nought, forbidden)", "Where(allowed, nought, soft)"): (
        'node "weights" (Softmax): its mask is not causal for 3 tokens after 61'
    ),
    ("mask", "Where(allowed, nought, forbidden)", "Where(allowed, by_size, forbidden)"): (
        "what is added to its scores must depend on heads, positions and keys"
    ),
    ("scores", "Add(scaled, mask)", "Identity(scaled)"): "its mask is not causal",
    ("scores", "Add(scaled, mask)", "Where(allowed, scaled, soft)"): (
        'node "masked" (Where): forbidden scores must become -1e+30 or less, not -10000.0'
    ),
    ("scores", "Add(scaled, mask)", "Add(scaled, scaled)"): (
        'node "masked" (Add): scores can only be masked by what depends on positions'
    ),
    ("scores", "Mul(raw, half)", "Mul(raw, raw)"): (
        'node "scaled" (Mul): scores and caches can only be multiplied or divided by a number'
    ),
    ("scores", "Mul(raw, half)", "Exp(raw)"): (
        'node "scaled" (Exp): it cannot be applied to attention scores'
    ),
    ("scores", "Softmax<axis = -1>(masked)", "Tanh(masked)"): (
        'node "weights" (Tanh): it cannot be applied to attention scores'
    ),
    ("scores", "axis = -1", "axis = 2"): "the Softmax of attention must be over the keys",
    ("repeat", "Expand(value_5d, wide)", "Expand(key_5d, wide)"): (
        'node "heads" (MatMul): it must use the values of the cache of layer 0'
    ),
    (
        "repeat",
        "key_wide = Expand(key_5d, wide)",
        "k_t = Transpose<perm = [0, 2, 1, 3, 4]>(key_5d) "
        "w2 = Concat<axis = 0>(one, three, two, total, four) key_wide = Expand(k_t, w2)",
    ): 'node "raw" (MatMul): its keys are not the cache in order, heads repeated',
    ("cache", "Concat<axis = 2>(past_0_key, k)", "Concat<axis = 2>(k, past_0_key)"): (
        'node "present_0_key" (Concat): the past of a cache can only be joined with new tokens'
    ),
    ("output", "Reshape(by_token, flat_shape)", "Identity(values)"): (
        'node "attended" (MatMul): its shapes do not fit: [ShapeInferenceError]'
    ),
}


@pytest.mark.parametrize("change", REFUSED)
def test_refuse_what_is_not_causal_attention_over_the_cache(change):
    part, old, new = change
    assert old in PARTS[part]
    text = PARTS[part].replace(old, new)
    if "by_size" in new:
        text = text.replace(
            "mask = ", "sizes = Mul(index, total) by_size = Cast<to = 1>(sizes) mask = "
        )
    model = decoder(EXTRA, **{part: text})
    with pytest.raises(CompileError) as error:
        canonicalise(model, 64, "model")
    assert REFUSED[change] in str(error.value)


SEEN = "allowed = LessOrEqual(index, rows_t)"
WINDOW = PARTS["mask"].replace(
    SEEN,
    "seen = LessOrEqual(index, rows_t) far = Sub(rows_t, index) near = Less(far, nine) "
    "allowed = And(seen, near)",
)
ODD_KEYS = PARTS["mask"].replace(
    SEEN,
    "seen = LessOrEqual(index, rows_t) rest = Mod(index, three) some = Equal(rest, zero) "
    "own = Equal(index, rows_t) other = Or(some, own) allowed = And(seen, other)",
)
SLOPES = """
    by_key = Cast<to = 1>(index) wide_keys = Mul(by_key, slopes)
    causal = Identity(mask_) mask = Add(causal, wide_keys)"""
BY_ANGLE = """
    by_key = Cast<to = 1>(index) by_row = Cast<to = 1>(rows_t) product = Mul(by_key, by_row)
    angle_ = Mul(product, slopes) waves = Sin(angle_) mask = Add(mask_, waves)"""
PLAIN_MASK = PARTS["mask"].replace("mask = Where", "mask_ = Where")
CAPPED = (
    "raw = MatMul(q, keys_t) small = Div(raw, nine_f) curve = Tanh(small) "
    "scaled = Mul(curve, nine_f) masked = Add(scaled, mask) weights = Softmax<axis = -1>(masked)"
)
SINKS = """
    raw = MatMul(q, keys_t) scaled = Mul(raw, half) masked = Add(scaled, mask)
    new_size = Shape<start = 1>(input_ids) sink_size = Concat<axis = 0>(one, one, new_size, one)
    sink_rows = Expand(sinks, sink_size) joined = Concat<axis = -1>(masked, sink_rows)
    most = ReduceMax<keepdims = 1>(joined, last_axis) shifted = Sub(joined, most)
    all_weights = Softmax<axis = -1>(shifted)
    weights = Slice(all_weights, zero, last_axis, three, one)"""
SINKS_FIRST = """
    raw = MatMul(q, keys_t) small = Div(raw, nine_f) curve = Tanh(small)
    capped = Mul(curve, nine_f) scaled = Add(capped, mask) masked = Cast<to = 1>(scaled)
    new_size = Shape<start = 1>(input_ids) sink_size = Concat<axis = 0>(one, one, new_size, one)
    sink_rows = Expand(sinks, sink_size) joined = Concat<axis = 3>(sink_rows, masked)
    all_weights = Softmax(joined) parts = Concat<axis = 0>(one, total)
    dropped, weights = Split<axis = 3>(all_weights, parts)"""
KINDS = {  # parts of the decoder, and attributes or number of biases that show it
    "window": ({"mask": WINDOW}, {"behind": 8, "ahead": 0}, 0),
    "some keys": ({"mask": ODD_KEYS}, {"behind": -1, "ahead": 0}, 1),
    "by head and key": ({"mask": PLAIN_MASK + SLOPES}, {"behind": -1, "ahead": 0}, 1),
    "by head, position and key": ({"mask": PLAIN_MASK + BY_ANGLE}, {"ahead": 0}, 6),
    "softcap": ({"scores": CAPPED}, {"softcap": 9.0, "scale": 1.0}, 0),
    "softcap, bias and window": (
        {"scores": CAPPED, "mask": WINDOW.replace("mask = ", "mask_ = ") + SLOPES},
        {"softcap": 9.0, "behind": -1},  # the last token does not show the bias of all keys
        6,
    ),
    "sinks": ({"scores": SINKS}, {"sinks": True, "behind": -1, "ahead": 0}, 1),
    "sinks first, softcap and window": (
        {"scores": SINKS_FIRST, "mask": WINDOW},
        {"sinks": True, "softcap": 9.0, "behind": 8},
        1,
    ),
}
KIND_EXTRA = EXTRA | {
    "sinks": np.array([-2, 0.5, 8, 3, -9, 1], np.float32).reshape(1, 6, 1, 1),
    "last_axis": np.array([-1]),
    "nine": np.array(9, np.int64),
    "nine_f": np.array(9, np.float32),
    "slopes": (0.5 ** np.arange(1, 7, dtype=np.float32)).reshape(1, 6, 1, 1),
}


def kind_of_attention(kind: str) -> onnx.ModelProto:
    return decoder(KIND_EXTRA, **KINDS[kind][0])


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_attention(kind):
    _, attributes, biases = KINDS[kind]
    model = kind_of_attention(kind)
    op = attention_of(model)
    assert attributes.items() <= op.attributes.items()
    assert len(op.inputs) == 3 + biases
    assert difference(model, 64, [*SIZES, (30, 0), (7, 23)], seed=5) < 2e-5


def test_a_window_as_long_as_the_context_is_causal():
    windowed = PARTS["mask"].replace(
        "allowed = LessOrEqual(index, rows_t)",
        "seen = LessOrEqual(index, rows_t) far = Sub(rows_t, index) near = Less(far, window) "
        "allowed = And(seen, near)",
    )
    assert attention_of(decoder(EXTRA, mask=windowed), max_context=40).kind == "attention"


def test_refuse_values_of_another_layer():
    cache = """
        present_1_key = Concat<axis = 2>(past_1_key, k)
        present_1_value = Concat<axis = 2>(past_1_value, v)"""
    repeat = PARTS["repeat"].replace("Unsqueeze(present_0_value", "Unsqueeze(present_1_value")
    model = decoder(cache=PARTS["cache"] + cache, repeat=repeat)
    for values in (model.graph.input, model.graph.output):
        for value in [v for v in values if "_0_" in v.name]:
            values.append(value)
            values[-1].name = value.name.replace("_0_", "_1_")
    with pytest.raises(CompileError, match=r"it must use the values of the cache of layer 0$"):
        canonicalise(model, 64, "model")


def test_refuse_a_cache_without_attention():
    model = decoder(output="y = Identity(embedded)")
    text = 'input "past_0_key": its cache must be used by one attention, not by 0'
    with pytest.raises(CompileError, match=f"^model: {text}$"):
        canonicalise(model, 64, "model")


def test_refuse_a_scale_that_depends_on_the_context():
    scores = """
        far = Greater(total_scalar, window)  factor = Where(far, none, half)
        raw = MatMul(q, keys_t)  scaled = Mul(raw, factor)  masked = Add(scaled, mask)
        weights = Softmax<axis = -1>(masked)"""
    with pytest.raises(CompileError, match=r"can only be multiplied or divided by a number$"):
        canonicalise(decoder(EXTRA, scores=scores), 64, "model")
    assert attention_of(decoder(EXTRA, scores=scores), max_context=40).attributes["scale"] == 0.5


@pytest.mark.parametrize("context", [1, 2, 6])
@pytest.mark.parametrize("kind", KINDS)
def test_contexts_shorter_than_what_masks_are_tried_with(kind, context):
    sizes = [(context, 0), (context - context // 2, context // 2)]
    assert difference(kind_of_attention(kind), context, sizes, seed=5) < 2e-5
