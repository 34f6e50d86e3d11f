"""The exported model against glassllm's own forward, the tokenizer against glassllm's own."""

import numpy as np
import onnx
import onnxruntime
import pytest
from glassllm import load_pretrained, no_grad
from tokenizers import Tokenizer

from export_glass import export
from llama_graph import halves_first
from tests.support import rng

LAYERS, KV_HEADS, WIDTH, VOCABULARY = 4, 2, 32, 1024


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory):
    directory = tmp_path_factory.mktemp("glass")
    export(directory / "new")
    return directory / "new"


@pytest.fixture(scope="module")
def session(folder):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(folder / "model.onnx", options)


def _feed(ids: np.ndarray, past: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Inputs for the tokens `ids` (batch, S) behind the KV cache `past`."""
    batch, new = ids.shape
    start = next(iter(past.values())).shape[2]
    positions = np.broadcast_to(np.arange(start, start + new), ids.shape)
    mask = np.ones((batch, start + new), np.int64)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": positions, **past}


def _empty(batch: int) -> dict[str, np.ndarray]:
    names = [f"past_key_values.{i}.{part}" for i in range(LAYERS) for part in ("key", "value")]
    return {name: np.zeros((batch, KV_HEADS, 0, WIDTH), np.float32) for name in names}


def _run(session, ids, past) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Logits and the new KV cache."""
    names = [output.name for output in session.get_outputs()]
    results = dict(zip(names, session.run(None, _feed(ids, past)), strict=True))
    logits = results.pop("logits")
    return logits, {k.replace("present", "past_key_values"): v for k, v in results.items()}


def test_interface(folder) -> None:
    model = onnx.load(folder / "model.onnx")
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 20)]
    cache = [f"{i}.{part}" for i in range(LAYERS) for part in ("key", "value")]
    assert [value.name for value in model.graph.input] == [
        *("input_ids", "attention_mask", "position_ids"),
        *(f"past_key_values.{name}" for name in cache),
    ]
    assert [value.name for value in model.graph.output] == [
        "logits",
        *(f"present.{name}" for name in cache),
    ]


def test_prefill_and_decode_agree_with_glassllm(session) -> None:
    reference, _ = load_pretrained("en")
    ids = rng(3).integers(0, VOCABULARY, (2, 128))
    with no_grad():
        expected = reference.forward(ids).data
    past, parts = _empty(2), []
    for start, stop in [(0, 37), (37, 38), (38, 39), (39, 127), (127, 128)]:
        logits, past = _run(session, ids[:, start:stop], past)
        parts.append(logits)
    assert np.abs(np.concatenate(parts, axis=1) - expected).max() < 1e-4
    assert past["past_key_values.3.key"].shape == (2, KV_HEADS, 128, WIDTH)


def test_padding_is_not_seen(session) -> None:
    """A key whose attention_mask is 0 changes nothing, whatever its token."""
    ids = rng(4).integers(0, VOCABULARY, (1, 9))
    feed = _feed(ids, _empty(1))
    feed["attention_mask"][0, 4] = 0
    before = session.run(["logits"], feed)[0]
    ids[0, 4] = (ids[0, 4] + 17) % VOCABULARY
    after = session.run(["logits"], feed)[0]
    assert np.array_equal(before[0, 5:], after[0, 5:])
    assert not np.array_equal(before[0, 4], after[0, 4])


def test_halves_first_reorders_within_heads() -> None:
    columns = np.arange(12)[None, :]
    expected = [[0, 2, 4, 1, 3, 5, 6, 8, 10, 7, 9, 11]]
    assert np.array_equal(halves_first(columns, heads=2), expected)


@pytest.mark.parametrize(
    "text",
    [
        "Alice was beginning to",
        "  two  spaces, and\n\na blank line \n",
        "“Off with her head!” said the Queen’s café—ça 日本 x",
        "cafe\u0301 " * 3,
        "",
    ],
)
def test_tokenizer_agrees_with_glassllm(folder, text: str) -> None:
    _, reference = load_pretrained("en")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    encoded = tokenizer.encode(text)
    assert encoded.ids == reference.encode(text)
    if reference.unk_id not in encoded.ids:
        assert tokenizer.decode(encoded.ids) == reference.decode(encoded.ids)


def test_tokenizer_round_trips_every_token(folder) -> None:
    _, reference = load_pretrained("en")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    for token in range(4, VOCABULARY):
        assert tokenizer.decode([token]) == reference.decode([token])
