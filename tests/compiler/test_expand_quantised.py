"""onnxruntime's operators on codes that its optimiser fuses, one by one, against it."""

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler.canonical import canonicalise
from compiler.errors import CompileError
from tests.compiler.agreement import SIZES, difference
from tests.compiler.decoder import MODEL, VOCABULARY, decoder, decoder_without_cache
from tests.compiler.test_fused import ALONE, NONE
from tests.support import rng


def constants() -> dict[str, np.ndarray]:
    dice = rng(5)

    def scale(*shape: int) -> np.ndarray:
        return dice.uniform(0.005, 0.02, shape).astype(np.float32)

    codes = {"w_code": (MODEL, MODEL), "wqkv": (MODEL, 3 * MODEL), "words": (VOCABULARY, MODEL)}
    codes |= {"places": (100, MODEL), "gain_code": (MODEL,), "shift_code": (MODEL,)}
    return {
        **{name: dice.integers(0, 256, shape).astype(np.uint8) for name, shape in codes.items()},
        **{f"{name}_scale": scale() for name in ("words", "places", "gain_code", "shift_code")},
        **{f"{name}_zero": np.uint8(120 + i) for i, name in enumerate(("w", *codes))},
        "w_scale": scale(),
        "x_scale": np.float32(0.03),
        "x_zero": np.uint8(90),
        "qkv_scale": scale(3 * MODEL),
        "qkv_zero": np.full(3 * MODEL, 128, np.uint8),
        "bias": dice.standard_normal(MODEL).astype(np.float32),
        "bqkv": dice.standard_normal(3 * MODEL).astype(np.float32),
    }


def of_onnxruntime(make, **parts: str) -> onnx.ModelProto:
    model = make(constants(), **parts)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


DYNAMIC = {
    "a bias": "x = com.microsoft.DynamicQuantizeMatMul(embedded, w_code, w_scale, w_zero, bias)",
    "no zero point": "x = com.microsoft.DynamicQuantizeMatMul(embedded, w_code, w_scale)",
    "to float": """
        code, step, point = DynamicQuantizeLinear(embedded)
        x = com.microsoft.MatMulIntegerToFloat(code, w_code, step, w_scale, point, w_zero, bias)""",
}


@pytest.mark.parametrize("form", DYNAMIC)
def test_dynamic_products(form: str) -> None:
    model = of_onnxruntime(decoder, feature=DYNAMIC[form])
    assert difference(model, 40, SIZES, seed=2) < 2e-5


@pytest.mark.parametrize("attributes", ["", ", unidirectional = 1"])
def test_attention(attributes: str) -> None:
    output = f"""
        code = QuantizeLinear(x, x_scale, x_zero)
        flat = com.microsoft.QAttention<num_heads = 6{attributes}>
          (code, wqkv, bqkv, x_scale, w_scale, , x_zero, w_zero)
        attended = MatMul(flat, wo) y = Add(embedded, attended)"""
    model = of_onnxruntime(decoder_without_cache, **(NONE | {"qkv": "", "output": output}))
    assert difference(model, 64, ALONE, seed=1) < 2e-5


def test_embedding() -> None:
    feature = """
        ids_32 = Cast<to = 6>(input_ids)
        x, lengths = com.microsoft.QEmbedLayerNormalization<epsilon = 0.01>(ids_32, , words, places,
          , gain_code, shift_code, , words_scale, places_scale, , gain_code_scale,
          shift_code_scale, words_zero, places_zero, , gain_code_zero, shift_code_zero)"""
    output = """
        q_wide = MatMul(x, wq)  code = QuantizeLinear(x, x_scale, x_zero)
        flat = com.microsoft.QAttention<num_heads = 6>
          (code, wqkv, bqkv, x_scale, w_scale, , x_zero, w_zero)
        attended = MatMul(flat, wo) y = Add(x, attended)"""
    parts = NONE | {"qkv": "", "feature": feature, "output": output}
    model = of_onnxruntime(decoder_without_cache, **parts)
    model.graph.node.remove(next(node for node in model.graph.node if node.output[0] == "q_wide"))
    del model.graph.input[2]  # position_ids
    assert difference(model, 64, ALONE, seed=1) < 2e-5


def test_a_missing_input_is_refused() -> None:
    feature = "x = com.microsoft.DynamicQuantizeMatMul(embedded, w_code)"
    with pytest.raises(CompileError, match=r'node "x" .*: its input 2 is missing'):
        canonicalise(of_onnxruntime(decoder, feature=feature), 40, "m")
