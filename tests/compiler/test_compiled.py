"""Compiled programs on the functional simulator against onnxruntime in fp32."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest

from compiler.canonical import canonicalise
from compiler.importer import load_model
from compiler.pipeline import compile_graph
from isa.config import ChipConfig, load_config
from sim.backends import make_backend
from sim.check import check_image
from sim.runtime import Session
from tests.compiler.decoder import decoder, decoder_without_positions, feeds, past_of
from tests.compiler.models import MODELS, model_path
from tests.compiler.test_attention import KINDS, kind_of_attention
from tests.support import rng

TINY = load_config("tiny")
ODD = TINY.replace(name="odd", rows=16, cols=4, lanes=4, axi_bytes=16, sram_banks=2)
WIDE = TINY.replace(name="wide", rows=4, cols=32, line_bytes=64, lanes=16)

# A rounding to bf16 is off by at most 2^-8 of the value, on average by at most 2^-9. Seven lie
# between the embedding and a logit of one layer: embedding, weights, input of q k v, queries,
# softmax weights, inputs of the output and of the head.
BOUND = 7 * 2.0**-9


def compiled(model: onnx.ModelProto, config: ChipConfig, context: int = 64) -> Session:
    """A checked program on the functional simulator."""
    image = compile_graph(canonicalise(model, context, "model"), config)
    assert check_image(image) > 0
    return Session(image, make_backend("functional"))


def reference(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.SerializeToString())


def compare(model: onnx.ModelProto, config: ChipConfig, sizes: list[tuple[int, int]]) -> float:
    """Largest of: mean |logit error| over the logits' deviation, the caches' relative error."""
    session, expected = compiled(model, config), reference(model)
    names = [output.name for output in expected.get_outputs()]
    worst = 0.0
    for new, past in sizes:
        random = rng(100 * new + past)
        ids = random.integers(0, 19, new)
        inputs = feeds(model, ids, past_of(model, past, random))
        actual = session.run(inputs)
        for name, wanted in zip(names, expected.run(None, inputs), strict=True):
            assert actual[name].shape == wanted.shape, name
            error = np.abs(actual[name] - wanted).mean() / wanted.std()
            worst = max(worst, float(error))
    return worst


@pytest.mark.parametrize("config", [TINY, ODD, WIDE], ids=lambda config: config.name)
def test_a_decoder_with_odd_sizes(config):
    sizes = [(1, 0), (1, 1), (5, 0), (3, 7), (17, 9), (1, 63)]
    assert compare(decoder(), config, sizes) < BOUND


@pytest.mark.parametrize(
    "feature",
    [
        "b = Tanh(embedded) x = Mul(b, gain)",
        "b = Sigmoid(embedded) s = Sqrt(b) x = Div(embedded, s)",
        "b = Mul(embedded, half) m = ReduceMean<keepdims = 1>(b, minus_one) x = Sub(b, m)",
        "x = Softmax<axis = -1>(embedded)",
        "b = Max(embedded, gain) x = Min(b, half)",
        "b = Erf(embedded) x = Mul(b, gain)",
        "b = LayerNormalization(embedded, gain) x = Add(b, embedded)",
        # One number a position, for all features; for those of each group.
        "c = Unsqueeze(position_ids, two) f = Cast<to = 1>(c) g = Cos(f) b = Tanh(embedded) "
        "x = Mul(b, g)",
        "c = Unsqueeze(position_ids, two) f = Cast<to = 1>(c) g = Cos(f) h = Unsqueeze(g, three) "
        "p = MatMul(embedded, wq) r = Reshape(p, in_groups) b = Tanh(r) m = Sub(b, h) "
        "x = Reshape(m, flat_shape)",
        "p = MatMul(embedded, wq) h = Slice(p, one, big, two, two) "
        "i = Slice(p, zero, big, two, two) j = Mul(h, i) t = Tanh(j) "
        "x_2 = MatMul(t, half_as_wide) x = Add(x_2, embedded)",
    ],
)
def test_operators(feature):
    half_as_wide = rng(6).standard_normal((12, 24)).astype(np.float32) / 4
    extra = {"minus_one": np.array([-1], np.int64), "half_as_wide": half_as_wide}
    extra["in_groups"] = np.array([1, -1, 4, 6])
    assert compare(decoder(extra, feature=feature), TINY, [(4, 3), (1, 11)]) < BOUND


@pytest.mark.parametrize("config", [TINY, ODD, WIDE], ids=lambda config: config.name)
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_attention(kind, config):
    """A cap multiplies errors by at most 1, a bias is fp32: no roundings come in."""
    sizes = [(5, 0), (3, 7), (17, 9), (1, 63)]
    assert compare(kind_of_attention(kind), config, sizes) < BOUND


@pytest.mark.parametrize(
    "name", ["llama/optimum_op18", "qwen3/optimum_op18", "gpt2/optimum_op18", "qwen3/genai_fp32"]
)
@pytest.mark.parametrize("config", [TINY, WIDE], ids=lambda config: config.name)
def test_exported_models(name, config):
    model = load_model(model_path(f"exporters/{name}"))
    assert compare(model, config, [(12, 0), (1, 12), (9, 30)]) < 2 * BOUND  # layers


@pytest.mark.parametrize(
    "name", ["qwen3/torchscript_op17", "llama/dynamo_op20", "qwen3/dynamo_op23"]
)
def test_models_that_show_no_cache(name):
    """Whole prompts agree; and a program goes on from its own cache, bit for bit."""
    model = load_model(model_path(f"exporters/{name}"))
    assert compare(model, TINY, [(12, 0), (1, 0), (30, 0)]) < 2 * BOUND
    session, ids = compiled(model, TINY), rng(5).integers(0, 256, 20)
    whole = session.step(ids)
    session.reset()
    parts = [session.step(part) for part in (ids[:7], ids[7:8], ids[8:])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_model_without_position_ids():
    """The host counts the tokens, whichever way they come."""
    model = decoder_without_positions()
    assert compare(model, TINY, [(1, 0), (5, 0), (3, 7), (17, 9)]) < BOUND
    session, expected = compiled(model, TINY), reference(model)
    ids = rng(4).integers(0, 19, 12)
    wanted = expected.run(["logits"], feeds(model, ids, past_of(model, 0, rng(0))))[0][0]
    parts = [session.step(part) for part in (ids[:5], ids[5:6], ids[6:])]
    assert np.abs(np.concatenate(parts) - wanted).mean() < BOUND * wanted.std()


def same_wherever_cut(session: Session, ids: np.ndarray) -> None:
    """A text's logits have the same bits whatever comes at once."""
    random, whole = rng(8), session.step(ids)
    assert np.isfinite(whole).all()
    for _ in range(4):
        session.reset()
        cuts = np.sort(random.choice(np.arange(1, len(ids)), 9, replace=False))
        parts = [session.step(part) for part in np.split(ids, cuts)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_passes_may_be_cut_anywhere():
    """A token's logits have the same bits, whether it comes alone or in a pass with others."""
    random = rng(8)
    session = compiled(load_model(model_path("stories260k/optimum_op18")), TINY)
    ids = random.integers(3, 512, 64)
    same_wherever_cut(session, ids)


GOLDENS = {
    "stories260k/optimum_op18": "stories260K",
    "stories260k/dynamo_op20": "stories260K",
    "glass_en/optimum_op18": "glassllm_en",
}


@pytest.mark.parametrize("name", GOLDENS)
def test_trained_models_choose_the_same_tokens(name):
    """Teacher forcing: after every prefix of every golden text, the next token is onnxruntime's."""
    model = load_model(model_path(name))
    session, expected = compiled(model, TINY, 256), reference(model)
    texts = json.loads((MODELS / "goldens.json").read_text())[GOLDENS[name]]
    same = total = 0
    errors = []
    for text in texts:
        ids = np.array(text["greedy_ids"])
        wanted = expected.run(["logits"], feeds(model, ids, past_of(model, 0, rng(0))))[0][0]
        session.reset()
        prompt = len(text["prompt_ids"])
        logits = [session.step(ids[:prompt]), *(session.step([token]) for token in ids[prompt:])]
        actual = np.concatenate(logits)
        same += int((actual.argmax(1) == wanted.argmax(1)).sum())
        total += len(ids)
        errors.append(np.abs(actual - wanted))
    error = np.concatenate(errors)
    print(
        f"{name}: {same} of {total} choices agree ({same / total:.2%}), logit error "
        f"mean {error.mean():.4f}, maximum {error.max():.4f}"
    )
    assert same >= 0.98 * total
