"""Keys put together of pieces, values narrower than keys or shared by more heads: MLA, Falcon."""

import numpy as np
import onnx
import pytest

from compiler.canonical import canonicalise
from compiler.errors import CompileError
from tests.compiler.agreement import difference
from tests.compiler.decoder import MODEL, PARTS, decoder_without_cache, feeds
from tests.compiler.test_compiled import BOUND, ODD, TINY, WIDE, compare, compiled
from tests.compiler.test_encoders import NORM, with_output
from tests.support import rng

SIZES = [(9, 0), (1, 0), (30, 0)]
PIECES = """
    k_begin = Slice(k, zero, two, three)  v_head = Slice(v, zero, one, one)
    v_last = Slice(v_head, two, big, three)  shared = Expand(v_last, two_heads)
    k_size = Shape(k)  blank = ConstantOfShape(k_size)
    blank_t = Transpose<perm = [3, 1, 2, 0]>(blank)
    first_t = Transpose<perm = [3, 1, 2, 0]>(k_begin)
    shared_t = Transpose<perm = [3, 1, 2, 0]>(shared)
    begun_t = ScatterND(blank_t, first_places, first_t)
    begun = Transpose<perm = [3, 1, 2, 0]>(begun_t)
    again_t = Transpose<perm = [3, 1, 2, 0]>(begun)
    whole_t = ScatterND(again_t, last_places, shared_t)
    present_0_key = Transpose<perm = [3, 1, 2, 0]>(whole_t)
    present_0_value = Identity(v)"""
REPLACED = """
    turned = Neg(k)  k_t = Transpose<perm = [3, 1, 2, 0]>(turned)
    v_t = Transpose<perm = [3, 1, 2, 0]>(v)  v_some = Gather<axis = 0>(v_t, one_two)
    mixed_t = ScatterND(k_t, last_places, v_some)
    present_0_key = Transpose<perm = [3, 1, 2, 0]>(mixed_t)
    present_0_value = Identity(v)"""
NARROW = {
    "cache": "present_0_key = Identity(k)  present_0_value = Slice(v, one, three, three)",
    "repeat": PARTS["repeat"]
    .replace("value_wide = Expand(value_5d, wide)", "value_wide = Expand(value_5d, wide_2)")
    .replace("Reshape(value_wide, merged)", "Reshape(value_wide, merged_2)")
    .replace(
        "key_wide =",
        "wide_2 = Concat<axis = 0>(one, two, three, total, two) "
        "merged_2 = Concat<axis = 0>(one, six, total, two) key_wide =",
    ),
    "output": PARTS["output"].replace("flat_shape", "flat_12").replace("wo)", "wo_12)"),
}
KEYS_OF_THEIR_OWN = {
    "qkv": PARTS["qkv"].replace("k_raw = Transpose", "k_two = Transpose")
    + """
        k_5d = Unsqueeze(k_two, two)  k_3 = Expand(k_5d, thrice)  k_raw = Reshape(k_3, k_six)""",
    "repeat": PARTS["repeat"]
    .replace("key_5d = Unsqueeze(present_0_key, two)", "")
    .replace("key_wide = Expand(key_5d, wide)", "")
    .replace("keys = Reshape(key_wide, merged)", "keys = Identity(present_0_key)"),
}
TWICE = {
    "output": """
        rest = Tanh(v)
        rest_5d = Unsqueeze(rest, two)  rest_wide = Expand(rest_5d, wide)
        rests = Reshape(rest_wide, merged)
        heads_a = MatMul(weights, values)  heads_b = MatMul(weights, rests)
        heads = Add(heads_a, heads_b)"""
    + PARTS["output"].replace("heads = MatMul(weights, values)", ""),
}
SHAPES = {
    "weights that meet two values": TWICE,
    "keys of pieces": {"cache": PIECES},
    "pieces of keys replaced": {"cache": REPLACED},
    "values narrower than keys": NARROW,
    "values shared by more heads than keys": KEYS_OF_THEIR_OWN,
    "both": KEYS_OF_THEIR_OWN
    | NARROW
    | {
        "repeat": NARROW["repeat"]
        .replace("key_5d = Unsqueeze(present_0_key, two)", "")
        .replace("key_wide = Expand(key_5d, wide)", "")
        .replace("keys = Reshape(key_wide, merged)", "keys = Identity(present_0_key)")
    },
}
EXTRA = {
    "first_places": np.array([[0], [1]]),
    "last_places": np.array([[2], [3]]),
    "two_heads": np.array([1, 2, 1, 1]),
    "thrice": np.array([1, 1, 3, 1, 1]),
    "k_six": np.array([1, 6, -1, 4]),
    "flat_12": np.array([0, -1, 12]),
    "wo_12": rng(9).standard_normal((12, MODEL)).astype(np.float32) / 2,
}


def shaped(name: str) -> onnx.ModelProto:
    return decoder_without_cache(EXTRA, **({"feature": NORM} | SHAPES[name]))


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_of_heads_agree_with_onnxruntime(name):
    assert difference(shaped(name), 64, SIZES, seed=1) < 2e-5


@pytest.mark.parametrize("config", [TINY, ODD, WIDE], ids=lambda config: config.name)
@pytest.mark.parametrize("name", SHAPES)
def test_compiled(name, config):
    assert compare(shaped(name), config, SIZES) < BOUND


REFUSED = {
    ("whole_t = ScatterND(again_t, last_places, shared_t)", "whole_t = Identity(again_t)"): (
        "is not filled by the pieces that it is put together of"
    ),
    ("ScatterND(again_t, last_places, shared_t)", "ScatterND(again_t, last_places, shared_0)"): (
        'node "whole_t" (ScatterND): it must put values of tokens where only sizes decide'
    ),
    ("ScatterND(again_t,", 'ScatterND<reduction = "add">(again_t,'): (
        'node "whole_t" (ScatterND): it must not add to what is there'
    ),
}


@pytest.mark.parametrize("change", REFUSED)
def test_refused(change):
    old, new = change
    assert old in PIECES
    text = PIECES.replace(old, new)
    if "shared_0" in new:
        text = text.replace("whole_t =", "shared_0 = Slice(blank_t, zero, two, zero) whole_t =")
    with pytest.raises(CompileError) as error:
        canonicalise(decoder_without_cache(EXTRA, cache=text), 64, "model")
    assert REFUSED[change] in str(error.value)


def test_reject_values_wider_than_keys():
    parts = {
        "cache": "present_0_value = Identity(v)  present_0_key = Slice(k, zero, two, three)",
        "repeat": PARTS["repeat"]
        .replace("Expand(key_5d, wide)", "Expand(key_5d, wide_2)")
        .replace("Reshape(key_wide, merged)", "Reshape(key_wide, merged_2)"),
    }
    parts["repeat"] = parts["repeat"].replace(
        "key_wide =",
        "wide_2 = Concat<axis = 0>(one, two, three, total, two) "
        "merged_2 = Concat<axis = 0>(one, six, total, two) key_wide =",
    )
    parts["scores"] = (
        PARTS["scores"]
        .replace("MatMul(q,", "MatMul(q_2,")
        .replace("raw =", "q_2 = Slice(q, zero, two, three) raw =")
    )
    with pytest.raises(CompileError, match="values must have as many heads as keys, no wider"):
        canonicalise(decoder_without_cache(EXTRA, **parts), 64, "model")


@pytest.mark.parametrize("config", [TINY, ODD, WIDE], ids=lambda config: config.name)
def test_features_of_rows_with_gaps_are_moved_exactly(config):
    """Heads are narrower than a vector: in any order, of all heads, they are the same bits."""
    order = rng(4).permutation(MODEL)
    output = PARTS["output"] + " mixed = Gather<axis = 2>(flat, order)"
    extra = EXTRA | {"order": order}
    model = decoder_without_cache(extra, feature=NORM, output=output)
    with_output(model, "flat", 1, "S", MODEL)
    with_output(model, "mixed", 1, "S", MODEL)
    values = compiled(model, config).run(feeds(model, rng(5).integers(0, 19, 9), {}))
    np.testing.assert_array_equal(values["mixed"], values["flat"][..., order])
