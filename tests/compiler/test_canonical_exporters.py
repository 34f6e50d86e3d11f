"""Real exporters' files of real models agree with onnxruntime, in prefill and in decode."""

import json

import numpy as np
import onnxruntime
import pytest

from compiler.canonical import canonicalise
from compiler.importer import load_model
from tests.compiler.agreement import difference
from tests.compiler.decoder import feeds, past_of
from tests.compiler.interpret import interpret
from tests.compiler.models import MODELS, model_path
from tests.support import rng

TRAINED = ["stories260k/optimum_op18", "stories260k/dynamo_op20", "glass_en/optimum_op18"]
SYNTHETIC = [f"exporters/{name}/optimum_op18" for name in ("llama", "qwen3", "gpt2")]


@pytest.mark.parametrize("name", TRAINED + SYNTHETIC + ["stories260k/int4_qdq"])
def test_exported_models_agree_with_onnxruntime(name):
    model = load_model(model_path(name))
    # A seed's worth of random past stands far outside the trained range: relative, then.
    error = difference(model, 128, [(24, 0), (1, 24), (1, 127), (7, 13), (3, 40)], seed=3)
    print(f"{name}: largest relative error {error:.2g}")
    assert error < 1e-4


@pytest.mark.parametrize(
    "name", ["qwen3/torchscript_op17", "llama/dynamo_op20", "qwen3/dynamo_op23"]
)
def test_exported_models_without_cache_agree_with_onnxruntime(name):
    model = load_model(model_path(f"exporters/{name}"))
    assert difference(model, 128, [(24, 0), (1, 0), (127, 0)], seed=3) < 1e-4


@pytest.mark.parametrize("name", TRAINED)
def test_prefill_then_decode_a_trained_model(name):
    path = model_path(name)
    goldens = json.loads((MODELS / "goldens.json").read_text())
    story = goldens["stories260K" if "stories" in name else "glassllm_en"][0]
    ids = np.array(story["greedy_ids"][:32])
    model = load_model(path)
    graph = canonicalise(model, 128, name)
    past = past_of(model, 0, rng(0))
    session = onnxruntime.InferenceSession(path)
    (wanted,) = session.run(["logits"], feeds(model, ids, past))
    whole = interpret(graph, ids, past)["logits"]
    decoded = []
    for token in ids:
        out = interpret(graph, np.array([token]), past)
        decoded.append(out.pop("logits")[0, 0])
        past = {key.replace("present", "past_key_values"): value for key, value in out.items()}
    errors = [np.abs(logits - wanted).max() for logits in (whole, np.array([decoded]))]
    print(f"{name}: largest logit error {errors[0]:.2g} in prefill, {errors[1]:.2g} in decode")
    assert max(errors) < 1e-3
    start = len(story["prompt_ids"]) - 1
    np.testing.assert_array_equal(whole[0, start:-1].argmax(-1), ids[start + 1 :])


def test_both_exporters_of_one_model_give_the_same_operators():
    first, second = (canonicalise(load_model(model_path(name)), 64, name) for name in TRAINED[:2])
    assert [(op.kind, op.output.groups, op.output.width) for op in first.ops] == [
        (op.kind, op.output.groups, op.output.width) for op in second.ops
    ]
    for a, b in zip(first.constants.values(), second.constants.values(), strict=True):
        np.testing.assert_array_equal(a, b)
