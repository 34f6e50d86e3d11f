"""Encoders: every token sees all others, pass after pass; other outputs than logits."""

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler.canonical import canonicalise
from compiler.errors import CompileError
from compiler.importer import load_model
from compiler.passes import cut
from isa.config import ChipConfig
from sim.host import InputError
from tests.compiler.agreement import difference
from tests.compiler.decoder import MODEL, PARTS, decoder, decoder_without_cache, feeds
from tests.compiler.models import model_path
from tests.compiler.test_compiled import BOUND, ODD, TINY, WIDE, compare, compiled, reference
from tests.support import rng

ALL = "mask = Identity(nought)"  # every key is allowed
# The embedding has an outlier. Behind a norm, scores are small enough for roundings of queries to
# stay roundings of weights: e^x multiplies the error of x by x.
NORM = "x = LayerNormalization(embedded, gain)"
LENGTHS = [(1, 0), (7, 0), (8, 0), (9, 0), (30, 0), (64, 0)]


def encoder(**parts: str) -> onnx.ModelProto:
    return decoder_without_cache(**({"mask": ALL, "feature": NORM} | parts))


def mean_error(model: onnx.ModelProto, config: ChipConfig) -> float:
    """Of the logits of LENGTHS, relative to their deviation."""
    session, expected, random = compiled(model, config), reference(model), rng(2)
    pairs = []
    for length, _ in LENGTHS:
        inputs = feeds(model, random.integers(0, 19, length), {})
        pairs.append((session.run(inputs)["logits"][0], expected.run(None, inputs)[0][0]))
    actual, wanted = (np.concatenate(rows) for rows in zip(*pairs, strict=True))
    return float(np.abs(actual - wanted).mean() / wanted.std())


def with_output(model: onnx.ModelProto, name: str, *shape: object) -> onnx.ModelProto:
    model.graph.output.append(helper.make_tensor_value_info(name, 1, shape))
    return model


def test_every_token_sees_all():
    assert difference(encoder(), 64, [(9, 0), (1, 0), (30, 0)], 1) < 1e-5
    graph = canonicalise(encoder(), 64, "model")
    assert not graph.causal
    assert canonicalise(decoder_without_cache(), 64, "model").causal


@pytest.mark.parametrize("config", [TINY, ODD, WIDE], ids=lambda config: config.name)
def test_chunks_of_an_encoder(config):
    """More tokens than one chunk: all keys are there before the first query. The error is that of
    all lengths together: the 19 logits of one token have no deviation to speak of."""
    assert mean_error(encoder(), config) < BOUND


@pytest.mark.parametrize("name", ["bert/optimum_op18", "bert/dynamo_op23"])
def test_exported_encoders(name):
    """Two layers; the second model's pooled output is the first token's alone."""
    model = load_model(model_path(f"exporters/{name}"))
    assert compare(model, TINY, LENGTHS) < 2 * BOUND


BANDS = {  # masks that are no decoder's, and what they become
    "to both sides": (
        "far = Sub(rows_t, index) size = Abs(far) allowed = LessOrEqual(size, three)",
        {"behind": 3, "ahead": 3},
        3,
    ),
    "two ahead": (
        "far = Sub(index, rows_t) allowed = LessOrEqual(far, two)",
        {"behind": -1, "ahead": 2},
        3,
    ),
    "every third": (
        "sum = Add(rows_t, index) rest = Mod(sum, three) far = Sub(rows_t, index) "
        "own = Equal(far, zero) third = Equal(rest, zero) allowed = Or(own, third)",
        {"behind": -1, "ahead": -1},
        4,
    ),
}
COUNT = """
    total_scalar = Squeeze(total)  index = Range(zero_scalar, total_scalar, one_scalar)
    rows = Unsqueeze(position_ids, one_two)  rows_t = Transpose<perm = [0, 1, 3, 2]>(rows)"""


def encoder_of(name: str) -> onnx.ModelProto:
    return encoder(mask=f"{COUNT} {BANDS[name][0]} mask = Where(allowed, nought, forbidden)")


@pytest.mark.parametrize("config", [TINY, WIDE], ids=lambda config: config.name)
@pytest.mark.parametrize("name", BANDS)
def test_bands_and_tables(name, config):
    """Windows to both sides; and what is no band is a table by position."""
    (_, attributes, inputs), model = BANDS[name], encoder_of(name)
    (op,) = (o for o in canonicalise(model, 64, "model").ops if o.kind == "attention")
    assert attributes.items() <= op.attributes.items()
    assert len(op.inputs) == inputs
    assert difference(model, 64, [(9, 0), (1, 0), (30, 0)], 1) < 1e-5
    assert mean_error(model, config) < BOUND


def test_ids_of_padding():
    """RoBERTa counts the tokens that are no padding: which the host then refuses."""
    tables = PARTS["tables"].replace("position_ids", "counted")
    count = """
        pads = Equal(input_ids, four) real = Not(pads) ones_ = Cast<to = 7>(real)
        sum_ = CumSum(ones_, one_scalar) more = Mul(sum_, ones_) counted = Sub(more, one_scalar)"""
    model = encoder(tables=f"{count} {tables}")
    del model.graph.input[2]  # position_ids
    assert canonicalise(model, 64, "model").excluded == {"input_ids": [4]}
    session, expected = compiled(model, TINY), reference(model)
    ids = np.array([3, 18, 0, 5, 7, 7, 1, 11, 12])
    inputs = feeds(model, ids, {})
    (wanted,) = expected.run(None, inputs)
    assert np.abs(session.run(inputs)["logits"] - wanted).mean() < BOUND * wanted.std()
    with pytest.raises(InputError, match=r"^'input_ids' must not be 4: padding is not supported$"):
        session.run(feeds(model, np.array([3, 4]), {}))


def test_an_output_of_one_number_a_token():
    """As in extractive question answering: the axis of features is gone."""
    logits = (
        "logits = MatMul(y, head) z_ = Slice(logits, one, two, two) start = Squeeze(z_, two) "
        "p = Gather<axis = 1>(start, zero_scalar)"
    )
    model = with_output(with_output(encoder(logits=logits), "start", 1, "S"), "p", 1)
    assert difference(model, 64, [(9, 0), (1, 0), (30, 0)], 1) < 1e-5
    outputs = compiled(model, TINY).run(feeds(model, np.arange(12), {}))
    np.testing.assert_array_equal(outputs["start"], outputs["logits"][..., 1])
    np.testing.assert_array_equal(outputs["p"], outputs["start"][:, 0])


def test_what_a_pass_needs_is_kept():
    """Each attention ends a pass; nothing is read that the pass neither makes nor brings."""
    passes = cut(canonicalise(load_model(model_path("exporters/bert/optimum_op18")), 64, "bert"))
    assert len(passes) == 3
    kept = set()
    for each in passes:
        assert set(each.brought) <= kept
        known = {*each.brought, *(op.output for op in each.ops)}
        for op in each.ops:
            assert known.issuperset(x for x in op.inputs if hasattr(x, "groups")), op
        kept |= set(each.kept)
    assert passes[0].kept
    assert not passes[-1].kept
    assert len(cut(canonicalise(decoder(), 64, "model"))) == 1


PICKS = {
    "first of a slice": ("p = Slice(y, zero, one, one) q_ = Squeeze(p, one)", "first"),
    "first by index": ("q_ = Gather<axis = 1>(y, zero_scalar)", "first"),
    "last by index": ("q_ = Gather<axis = 1>(y, last_scalar)", "last"),
    "last of a slice": ("p = Slice(y, minus_one, big, one) q_ = Squeeze(p, one)", "last"),
}
EXTRA = {"last_scalar": np.array(-1, np.int64), "minus_one": np.array([-1], np.int64)}


@pytest.mark.parametrize("case", PICKS)
@pytest.mark.parametrize("causal", [True, False])
def test_one_token(case, causal):
    """A classifier of one token: a norm and a product of it, behind what picks it; the same of all
    tokens has the same bits."""
    how, pick = PICKS[case]
    parts = {"feature": NORM} | ({} if causal else {"mask": ALL})
    logits = (
        f"n = LayerNormalization(y, gain) logits = MatMul(n, head) {how} "
        "z_ = LayerNormalization(q_, gain) pooled = MatMul(z_, head)"
    )
    model = with_output(decoder_without_cache(EXTRA, logits=logits, **parts), "pooled", 1, 19)
    graph = canonicalise(model, 64, "model")
    assert [(o.name, o.pick) for o in graph.outputs] == [("logits", ""), ("pooled", pick)]
    assert difference(model, 64, [(5, 0), (1, 0), (30, 0)], 1) < 1e-5
    session, row = compiled(model, TINY), 0 if pick == "first" else -1
    for length in (1, 5, 8, 30):
        actual = session.run(feeds(model, rng(length).integers(0, 19, length), {}))
        np.testing.assert_array_equal(actual["pooled"], actual["logits"][:, row])


def test_more_outputs_of_a_decoder():
    """Hidden states of a model with a cache, of widths that leave gaps between lines."""
    model = with_output(with_output(decoder(), "y", 1, "S", MODEL), "k_flat", 1, "S", 8)
    sizes = [(1, 0), (3, 7), (17, 9), (1, 63)]
    assert compare(model, TINY, sizes) < BOUND
    assert compare(model, WIDE, sizes) < BOUND


def test_what_is_picked_must_not_meet_the_others():
    logits = "logits = MatMul(y, head) p = Slice(y, zero, one, one) added = Add(p, y)"
    model = with_output(encoder(logits=logits), "added", 1, "S", MODEL)
    with pytest.raises(CompileError, match=r'"added" \(Add\): it joins one token with others'):
        canonicalise(model, 64, "model")


def test_outputs_have_a_row_for_each_token():
    model = with_output(encoder(), "q_heads", 1, "S", 6, 4)
    with pytest.raises(CompileError, match=r'output "q_heads": it must be \[batch, tokens, feat'):
        canonicalise(model, 64, "model")


def test_an_encoder_has_no_past():
    """Every step is a text of its own; types that nobody gives are 0."""
    model = load_model(model_path("exporters/bert/optimum_op18"))
    session, ids = compiled(model, TINY), rng(3).integers(0, 256, 12)
    session.step(ids[:5])
    inputs = feeds(model, ids, {}) | {"token_type_ids": np.zeros((1, 12), np.int64)}
    (wanted,) = reference(model).run(None, inputs)
    assert np.abs(session.step(ids) - wanted[0]).mean() < 2 * BOUND * wanted.std()
    assert session.past == 0
    wrong = inputs | {"token_type_ids": np.full((1, 12), 2)}
    with pytest.raises(InputError, match=r"^'token_type_ids' must be 0 … 1, not 2$"):
        session.run(wrong)


PROBE = """
    p_k = MatMul(y, wk)  p_v = MatMul(y, wv)
    p_k_heads = Reshape(p_k, kv_shape)  p_v_heads = Reshape(p_v, kv_shape)
    p_keys = Transpose<perm = [0, 2, 3, 1]>(p_k_heads)
    p_values = Transpose<perm = [0, 2, 1, 3]>(p_v_heads)
    p_scores = MatMul(probe, p_keys)  p_scaled = Mul(p_scores, half)
    p_masked = Add(p_scaled, p_mask)  p_flat = Squeeze(p_masked, zero)
    p_soft = Softmax<axis = -1>(p_flat)  p_weights = Unsqueeze(p_soft, zero)
    p_mixed = MatMul(p_weights, p_values)  p_row = Reshape(p_mixed, one_row)
    pooled = MatMul(p_row, p_head)  logits = MatMul(y, head)"""


def asking(**parts: str) -> onnx.ModelProto:
    """An encoder that ends in a learned query, which two heads of keys answer."""
    random = rng(12)
    extra = {
        "probe": random.standard_normal((1, 2, 1, 4), np.float32),
        "p_head": random.standard_normal((8, 33), np.float32),
        "p_mask": np.zeros((1, 1, 1, 1), np.float32),
        "one_row": np.array([1, 8]),
    }
    model = decoder_without_cache(
        extra, **({"mask": ALL, "feature": NORM, "logits": PROBE} | parts)
    )
    return with_output(model, "pooled", 1, 33)


@pytest.mark.parametrize("config", [TINY, WIDE], ids=lambda config: config.name)
def test_a_learned_query(config):
    """Its answer is one row, from however many tokens."""
    model, errors = asking(), []
    session, expected = compiled(model, config), reference(model)
    for length, _ in LENGTHS:
        inputs = feeds(model, rng(length).integers(0, 19, length), {})
        (wanted,) = expected.run(["pooled"], inputs)
        actual = session.run(inputs)["pooled"]
        assert actual.shape == wanted.shape == (1, 33)
        errors.append(np.abs(actual - wanted).mean() / wanted.std())
    assert np.mean(errors) < BOUND


def test_reject_a_query_of_the_number_of_tokens():
    """What is known when compiled may still differ from length to length."""
    longer = "p_size = Cast<to = 1>(total)  p_probe = Mul(probe, p_size)"
    text = PROBE.replace("MatMul(probe,", "MatMul(p_probe,")
    text = text.replace("p_k = MatMul(y, wk)", f"{longer} p_k = MatMul(y, wk)")
    with pytest.raises(CompileError, match="the only query must be the same for any number of"):
        canonicalise(asking(logits=text), 64, "model")


def test_reject_a_query_of_more_heads_than_keys():
    text = PROBE.replace("MatMul(probe, p_keys)", "MatMul(p_probe, p_wide)")
    twice = "p_probe = Gather<axis = 1>(probe, p_twice) p_wide = Gather<axis = 1>(p_keys, p_twice)"
    text = text.replace(
        "p_scores =", f"p_twice = Concat<axis = 0>(zero, zero, one, one) {twice} p_scores ="
    )
    text = text.replace("MatMul(p_weights, p_values)", "MatMul(p_weights, p_v_wide)")
    text = text.replace("p_mixed =", "p_v_wide = Gather<axis = 1>(p_values, p_twice) p_mixed =")
    with pytest.raises(CompileError, match="the only query must have 2 heads, as many as keys"):
        canonicalise(asking(logits=text), 64, "model")
