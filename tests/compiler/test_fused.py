"""onnxruntime's fused attention and embedding agree with it, decoders and encoders."""

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler.canonical import canonicalise
from compiler.errors import CompileError
from compiler.expand_contrib import expand_contrib
from tests.compiler.agreement import SIZES, difference
from tests.compiler.decoder import MODEL, decoder, decoder_without_cache
from tests.compiler.test_compiled import BOUND, TINY, compare
from tests.support import rng

ALONE = [(9, 0), (1, 0), (30, 0)]
NONE = dict.fromkeys(("tables", "rotation", "cache", "repeat", "mask", "scores"), "")
MASKS = {"none": "", "by token": "mask_32", "counted": "lengths"}


def constants() -> dict[str, np.ndarray]:
    random = rng(3)
    shapes = {
        "wqkv": (MODEL, 3 * MODEL), "bqkv": 3 * MODEL, "b_three": 24, "w8": (8, MODEL),
        "places": (100, MODEL), "kinds": (2, MODEL), "shift": MODEL, "tilt": (1, 6, 1, 1),
    }  # fmt: skip
    found = {
        name: random.standard_normal(size).astype(np.float32) / 2 for name, size in shapes.items()
    }
    return found | {"small": np.float32(0.01)}


def fused(make, **parts: str) -> onnx.ModelProto:
    model = make(constants(), **(NONE | parts))
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def attention(attributes: str, mask: str = "", bias: str = "") -> onnx.ModelProto:
    """A whole encoder or decoder layer around Attention, without a cache."""
    output = f"""
        mask_32 = Cast<to = 6>(attention_mask)  lengths = ReduceSum<keepdims = 0>(mask_32, one)
        {bias} flat = com.microsoft.Attention<num_heads = 6{attributes}>
          (x, wqkv, bqkv, {mask}, , {"bias_" if bias else ""})
        attended = MatMul(flat, wo) y = Add(embedded, attended)"""
    return fused(decoder_without_cache, qkv="", output=output)


@pytest.mark.parametrize("attributes", ["", ", unidirectional = 1", ", scale = 0.3"])
@pytest.mark.parametrize("mask", MASKS)
def test_attention(attributes, mask):
    model = attention(attributes, MASKS[mask])
    assert canonicalise(model, 64, "model").causal == ("unidirectional" in attributes)
    assert difference(model, 64, ALONE, seed=1) < 2e-5


def test_attention_with_a_bias():
    bias = """size_ = Shape(input_ids) count_ = Gather(size_, one_scalar)
        keys_ = Range(zero_scalar, count_, one_scalar) key_f = Cast<to = 1>(keys_)
        row_ = Mul(key_f, tilt) column_ = Transpose<perm = [0, 1, 3, 2]>(row_)
        bias_ = Mul(row_, column_)"""
    model = attention("", "mask_32", bias)
    assert difference(model, 64, ALONE, seed=1) < 2e-5
    assert compare(attention(""), TINY, [(30, 0)]) < BOUND


def multi_head(attributes: str, inputs: str, made: str, **parts: str) -> dict[str, str]:
    qkv = "q_flat = MatMul(x, wk)  k_flat = MatMul(x, wv)  v_flat = MatMul(x, wk)"
    output = f"""
        mask_32 = Cast<to = 6>(attention_mask)
        flat{made} = com.microsoft.MultiHeadAttention<num_heads = 2{attributes}>
          (q_flat, k_flat, v_flat, {inputs})
        attended = MatMul(flat, w8) y = Add(embedded, attended)"""
    return {"qkv": qkv, "output": output, **parts}


@pytest.mark.parametrize("inputs", ["", "b_three", "b_three, mask_32"])
@pytest.mark.parametrize("attributes", ["", ", unidirectional = 1", ", scale = 0.3"])
def test_multi_head_attention(attributes, inputs):
    model = fused(decoder_without_cache, **multi_head(attributes, inputs, ""))
    assert difference(model, 64, ALONE, seed=1) < 2e-5


def test_multi_head_attention_with_a_cache():
    inputs = "b_three, mask_32, , past_0_key, past_0_value"
    made = ", present_0_key, present_0_value"
    model = fused(decoder, **multi_head(", unidirectional = 1", inputs, made))
    assert difference(model, 64, SIZES, seed=1) < 2e-5
    assert compare(model, TINY, [(5, 0), (3, 7), (17, 9), (1, 63)]) < BOUND


@pytest.mark.parametrize(
    "inputs",
    [
        "ids_32, , table, places, , gain, shift",
        "ids_32, kinds_32, table, places, kinds, gain, shift, mask_32",
        "ids_32, , table, places, , gain, shift, , places_32",
    ],
)
def test_embedding(inputs):
    """Words and positions, segments, a mask whose sum bounds the keys."""
    masked, placed = "mask_32" in inputs, "places_32" in inputs
    places = "places_32 = Cast<to = 6>(position_ids)" if placed else ""
    feature = f"""
        ids_32 = Cast<to = 6>(input_ids) {places}
        kinds_32 = Cast<to = 6>(token_type_ids) mask_32 = Cast<to = 6>(attention_mask)
        x, lengths = com.microsoft.EmbedLayerNormalization<epsilon = 0.01>({inputs})"""
    output = f"""
        flat = com.microsoft.Attention<num_heads = 6>(x, wqkv, bqkv, {"lengths" if masked else ""})
        attended = MatMul(flat, wo) y = Add(x, attended)"""
    model = fused(decoder_without_cache, qkv="", feature=feature, output=output)
    if not placed:
        del model.graph.input[2]  # position_ids
    model.graph.input.append(helper.make_tensor_value_info("token_type_ids", 7, [1, "S"]))
    assert difference(model, 64, ALONE, seed=1) < 2e-5


REFUSED = {
    ", qkv_hidden_sizes = [24, 24, 48]": "it must have no past and no rotation, and q, k, v of one",
    ", do_rotary = 1": "it must have no past and no rotation, and q, k, v of one size",
}


@pytest.mark.parametrize("attributes", REFUSED)
def test_reject(attributes):
    with pytest.raises(CompileError, match=r'node "flat" \(com.microsoft.Attention\): ') as error:
        canonicalise(attention(attributes), 64, "model")
    assert REFUSED[attributes] in str(error.value)


def test_names_stay_and_other_models_are_not_copied():
    model = attention("")
    assert "flat" in {node.name for node in expand_contrib(model).graph.node}
    assert expand_contrib(decoder()).graph.node == decoder().graph.node
    plain = decoder()
    assert expand_contrib(plain) is plain
