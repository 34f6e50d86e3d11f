"""onnxruntime's MoE agrees with it: activations, products in one or two, kinds of weights."""

import numpy as np
import onnx
import pytest
from onnx import helper

from compiler.canonical import canonicalise
from compiler.errors import CompileError
from tests.compiler.agreement import difference, kinds
from tests.compiler.decoder import MODEL, decoder
from tests.compiler.test_compiled import BOUND, TINY, compare
from tests.support import rng

EXPERTS, HIDDEN = 5, 16
SWIGLU = (
    'activation_type = "swiglu", swiglu_limit = 0.5, activation_alpha = 1.7, activation_beta = 1.0'
)
KINDS = {
    "relu": ('activation_type = "relu"', "w_one, b_one, w_down, b_down"),
    "silu, no bias": ('activation_type = "silu"', "w_one, , w_down"),
    "gelu": ('activation_type = "gelu"', "w_one, b_one, w_down, b_down"),
    "swiglu, interleaved": (f"{SWIGLU}, swiglu_fusion = 1", "w_both, b_both, w_down, b_down"),
}


def model_of(attributes: str, weights: str, normal: int = 1) -> onnx.ModelProto:
    random = rng(13)
    shapes = {
        "w_one": (EXPERTS, HIDDEN, MODEL),
        "w_both": (EXPERTS, 2 * HIDDEN, MODEL),
        "w_down": (EXPERTS, MODEL, HIDDEN),
        "b_one": (EXPERTS, HIDDEN),
        "b_both": (EXPERTS, 2 * HIDDEN),
        "b_down": (EXPERTS, MODEL),
        "router": (MODEL, EXPERTS),
    }
    arrays = {k: random.standard_normal(v).astype(np.float32) / 4 for k, v in shapes.items()}
    arrays["by_row"] = np.array([-1, EXPERTS], np.int64)
    logits = f"""
        normed = LayerNormalization(y, gain)  scores_3d = MatMul(normed, router)
        scores_ = Reshape(scores_3d, by_row)
        mixed = com.microsoft.MoE<{attributes}, k = 2, normalize_routing_weights = {normal}>(
            normed, scores_, {weights})
        z = Add(y, mixed)  logits = MatMul(z, head)"""
    model = decoder(arrays, logits=logits)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    return model


@pytest.mark.parametrize("normal", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_agrees(kind, normal):
    model = model_of(*KINDS[kind], normal)
    assert difference(model, 32, [(9, 0), (1, 9)], 1) < 2e-5
    assert "chosen_linear" in kinds(model)


def test_compiled():
    assert compare(model_of(*KINDS["swiglu, interleaved"]), TINY, [(1, 0), (9, 3)]) < 2 * BOUND


@pytest.mark.parametrize(
    ("attributes", "problem"),
    [
        ('activation_type = "tanh"', r"MoE\): activation_type 'tanh' must be one of relu, gelu"),
        (f"{SWIGLU}, swiglu_fusion = 2", r"MoE\): the halves of its swiglu must be interleaved"),
        ('activation_type = "relu", use_sparse_mixer = 1', r"MoE\): a sparse mixer, and inputs"),
    ],
)
def test_refused(attributes, problem):
    with pytest.raises(CompileError, match=problem):
        canonicalise(model_of(attributes, "w_one, b_one, w_down"), 32, "model")
