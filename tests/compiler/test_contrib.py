"""Operators of onnxruntime: the canonical graph agrees with it, and what cannot run is refused."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from compiler.canonical import canonicalise
from compiler.contrib import dequantised
from compiler.errors import CompileError
from compiler.importer import load_model
from tests.compiler.agreement import SIZES, difference
from tests.compiler.decoder import MODEL, decoder
from tests.compiler.models import model_path
from tests.support import rng

HEADS = MODEL // 4


def with_contrib(extra: dict | None = None, **parts: str) -> onnx.ModelProto:
    model = decoder(extra, **parts)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


def constants() -> dict[str, np.ndarray]:
    random = rng(3)
    codes = random.integers(0, 256, (MODEL, 2, 8), np.uint8)
    codes_8 = random.integers(0, 256, (MODEL, 2, 16), np.uint8)
    arrays = {
        "bias": random.standard_normal(MODEL),
        "gain_4": random.standard_normal(4),
        "scales": random.random(2 * MODEL) / 8,
        "zeros_f": random.random((MODEL, 2)) * 15,
    }
    return {
        **{name: array.astype(np.float32) for name, array in arrays.items()},
        "codes": codes,
        "codes_8": codes_8,
        "zeros": random.integers(0, 256, MODEL, np.uint8),
        "by_fours": np.array([1, -1, 4]),
        "rows_4": random.integers(0, 256, (19, 16), np.uint8),
        "rows_8": random.integers(0, 256, (19, 32), np.uint8),
        "row_zeros": random.integers(0, 256, (19, 1), np.uint8),
        "row_scales": random.random((19, 2), np.float32) / 8,
        "row_scales_8": random.random((19, 2), np.float32) / 128,  # of codes 16 times as large
        "back": random.standard_normal((32, MODEL), np.float32),
        "as_rows": np.array([1, -1, MODEL]),
    }


N_BITS_GIVEN = {"K": 24, "N": 24, "bits": 4, "block_size": 16}
N_BITS = "<K = 24, N = 24, bits = 4, block_size = 16>"
EXPRESSIONS = [
    "x = SimplifiedLayerNormalization<epsilon = 0.01, axis = -1>(embedded, gain)",
    # Heads and tokens share an axis.
    "h = Reshape(embedded, by_fours) n = SimplifiedLayerNormalization<axis = -1>(h, gain_4) "
    "x = Reshape(n, as_rows)",
    "x = com.microsoft.SkipSimplifiedLayerNormalization<epsilon = 0.1>(embedded, embedded, gain)",
    "t = Tanh(embedded) n, a, b, s = com.microsoft.SkipSimplifiedLayerNormalization"
    "<epsilon = 0.01>(t, embedded, gain, bias) x = Add(n, s)",
    "t = Tanh(embedded) x = com.microsoft.SkipLayerNormalization<epsilon = 0.01>"
    "(t, embedded, gain)",
    "t = Tanh(embedded) n, a, b, s = com.microsoft.SkipLayerNormalization<epsilon = 0.01>"
    "(t, embedded, gain, bias, bias) x = Add(n, s)",
    "x = com.microsoft.Gelu(embedded)",
    "x = com.microsoft.BiasGelu(embedded, bias)",
    "x = com.microsoft.FastGelu(embedded)",
    "x = com.microsoft.FastGelu(embedded, bias)",
    "x = com.microsoft.QuickGelu<alpha = 0.9>(embedded)",
    f"x = com.microsoft.MatMulNBits{N_BITS}(embedded, codes, scales)",
    f"x = com.microsoft.MatMulNBits{N_BITS}(embedded, codes, scales, zeros)",
    f"x = com.microsoft.MatMulNBits{N_BITS}(embedded, codes, scales, zeros_f)",
    *(
        f"r = com.microsoft.GatherBlockQuantized<bits = {bits}, block_size = 16, quantize_axis = 1>"
        f"({codes}, input_ids, {scales}) t = MatMul(r, back) x = Add(t, embedded)"
        for bits, codes, scales in (
            (4, "rows_4", "row_scales"),
            (4, "rows_4", "row_scales, row_zeros"),
            (8, "rows_8", "row_scales_8"),
        )
    ),
]


@pytest.mark.parametrize("feature", EXPRESSIONS)
def test_an_expression_agrees_with_onnxruntime(feature):
    assert difference(with_contrib(constants(), feature=feature), 64, SIZES, seed=1) < 2e-5


def test_codes_of_eight_bits_and_rows_that_end_in_a_block():
    """By the definition: K = 24 in blocks of 16, the rest of the last one is not used."""
    arrays = constants()
    node = helper.make_node(
        "MatMulNBits", [], [], domain="com.microsoft", K=24, N=MODEL, bits=8, block_size=16
    )
    found = dequantised(node, [arrays["codes_8"], arrays["scales"], None])
    codes = arrays["codes_8"].reshape(MODEL, 32)[:, :24].astype(np.float32)
    scales = np.repeat(arrays["scales"].reshape(MODEL, 2), 16, axis=1)[:, :24]
    np.testing.assert_array_equal(found, ((codes - 128) * scales).T)


@pytest.mark.parametrize("exporter", ["genai_fp32", "genai_int4"])
def test_models_of_onnxruntime_genai_agree_with_it(exporter):
    """GroupQueryAttention: one product, normalised queries and keys, tables, no position ids."""
    model = load_model(model_path(f"exporters/qwen3/{exporter}"))
    for node in model.graph.node:  # else onnxruntime rounds what int4 weights are multiplied with
        kept = [a for a in node.attribute if a.name != "accuracy_level"]
        del node.attribute[:]
        node.attribute.extend(kept)
    assert difference(model, 64, [(12, 0), (1, 12), (7, 13), (1, 63)], seed=3) < 1e-4


def with_attention(name: str, value: float) -> onnx.ModelProto:
    """A model of onnxruntime-genai whose first attention has that attribute."""
    model = load_model(model_path("exporters/qwen3/genai_fp32"))
    node = next(n for n in model.graph.node if n.op_type == "GroupQueryAttention")
    kept = [attribute for attribute in node.attribute if attribute.name != name]
    del node.attribute[:]
    node.attribute.extend([*kept, helper.make_attribute(name, value)])
    return model


@pytest.mark.parametrize(
    ("name", "value"),
    [("local_window_size", 8), ("softcap", 0.5), ("rotary_interleaved", 1), ("smooth_softmax", 1)],
)
def test_kinds_of_attention(name, value):
    model, sizes = with_attention(name, value), [(12, 0), (1, 12), (7, 13), (1, 63)]
    assert difference(model, 64, sizes, seed=3) < 1e-4


def with_sinks(sinks: np.ndarray) -> onnx.ModelProto:
    model = load_model(model_path("exporters/qwen3/genai_fp32"))
    model.graph.initializer.append(numpy_helper.from_array(sinks, "sinks"))
    for node in model.graph.node:
        if node.op_type == "GroupQueryAttention":
            node.input[11] = "sinks"
    return model


def test_sinks_agree_with_onnxruntime():
    model, sizes = with_sinks(np.array([3, -4, 0.5, 9], np.float32)), [(12, 0), (1, 12), (7, 13)]
    assert difference(model, 64, sizes, seed=3) < 1e-4


@pytest.mark.parametrize("sinks", [np.zeros(3, np.float32), np.full(4, -np.inf, np.float32)])
def test_reject_sinks_that_are_not_a_number_for_each_head(sinks):
    with pytest.raises(CompileError, match='its sinks "sinks" must be 4 finite numbers, one for'):
        canonicalise(with_sinks(sinks), 64, "model")


@pytest.mark.parametrize("name", ["num_heads", "kv_num_heads", "N", "K", "block_size"])
def test_reject_a_missing_attribute(name):
    model = load_model(model_path("exporters/qwen3/genai_int4"))
    for node in model.graph.node:
        kept = [attribute for attribute in node.attribute if attribute.name != name]
        del node.attribute[:]
        node.attribute.extend(kept)
    with pytest.raises(CompileError, match=r'node ".*" \(.*(MatMulNBits|GroupQueryAttention)\): '):
        canonicalise(model, 64, "model")


@pytest.mark.parametrize(
    "change", [{"K": 40}, {"N": 25}, {"block_size": 32}, {"bits": 3}, {"bits": 9}, {"bits": 8}]
)
def test_reject_codes_that_do_not_fit(change):
    text = "<" + ", ".join(f"{k} = {v}" for k, v in (N_BITS_GIVEN | change).items()) + ">"
    feature = f"x = com.microsoft.MatMulNBits{text}(embedded, codes, scales)"
    with pytest.raises(CompileError):
        canonicalise(with_contrib(constants(), feature=feature), 64, "model")


def test_reject_a_table_that_is_too_short():
    model = load_model(model_path("exporters/qwen3/genai_fp32"))
    with pytest.raises(CompileError, match='the table "cos_cache" has 128 positions, not 129'):
        canonicalise(model, 129, "model")


def test_reject_lengths_that_are_not_all_tokens():
    model = load_model(model_path("exporters/qwen3/genai_fp32"))
    node = next(n for n in model.graph.node if n.op_type == "GroupQueryAttention")
    node.input[5] = node.input[6]
    with pytest.raises(CompileError, match="must be the number of tokens - 1, of all of them"):
        canonicalise(model, 64, "model")


def test_reject_all_foreign_operators_at_once():
    model = with_contrib(
        feature="a = com.microsoft.Inverse(embedded) b = com.microsoft.Trilu(a) "
        "x = com.microsoft.Inverse(b)"
    )
    with pytest.raises(CompileError) as error:
        canonicalise(model, 64, "model")
    text = "com.microsoft.Inverse (a, x), com.microsoft.Trilu (b)"
    assert f"unsupported operators: {text}" in str(error.value)
