"""Batches and padding: against onnxruntime on the whole batch, and each sequence alone."""

import numpy as np
import onnxruntime
import pytest

from compiler.pipeline import compile_file
from isa.config import load_config
from sim.backends import make_backend
from sim.host import InputError
from sim.runtime import Session
from tests.compiler.models import model_path
from tests.compiler.test_compiled import BOUND
from tests.support import rng

LLAMA = model_path("exporters/llama/optimum_op18")
BERT = model_path("exporters/bert/optimum_op18")
LENGTHS = (9, 3, 7, 1)
TINY = load_config("tiny")


def session(path=LLAMA) -> Session:
    return Session(compile_file(path, TINY, 32), make_backend("functional"))


def padded(side: str, total: int, lengths=LENGTHS) -> np.ndarray:
    """Masks (batch, total): so many ones, the zeros on that side."""
    places = np.arange(total)
    if side == "left":
        places = places[::-1]
    return (places < np.array(lengths)[:, None]).astype(np.int64)


def positions_of(mask: np.ndarray, new: int) -> np.ndarray:
    """As transformers has them: padding stands at 1."""
    found = mask.cumsum(axis=1) - 1
    return np.where(mask == 0, 1, found)[:, -new:]


def inputs(side: str, past: int, seed: int) -> dict[str, np.ndarray]:
    dice, new = rng(seed), max(LENGTHS)
    mask = padded(side, new) if not past else np.ones((4, past + new), np.int64)
    if past:  # decode: some of the past is padding, the new tokens are not
        mask = np.concatenate([padded("left", past, (past, 3, 5, 1)), np.ones((4, 2), int)], axis=1)
        new = 2
    found = {"input_ids": dice.integers(3, 250, (4, new)), "attention_mask": mask}
    found["position_ids"] = positions_of(mask, new)
    for value in onnxruntime.InferenceSession(LLAMA).get_inputs():
        if value.name.startswith("past"):
            shape = (4, value.shape[1], past, value.shape[3])
            found[value.name] = dice.standard_normal(shape).astype(np.float32)
    return found


@pytest.mark.parametrize(("side", "past"), [("right", 0), ("left", 0), ("left", 6)])
def test_a_batch_is_what_onnxruntime_makes_of_it(side: str, past: int) -> None:
    given = inputs(side, past, 3)
    reference = onnxruntime.InferenceSession(LLAMA)
    names = [output.name for output in reference.get_outputs()]
    wanted = dict(zip(names, reference.run(None, given), strict=True))
    found = session().run(given)
    real = given["attention_mask"].astype(bool)
    new = real[:, past:]
    for name in names:
        assert found[name].shape == wanted[name].shape
        places = new if name == "logits" else real
        a, b = (x if name == "logits" else x.swapaxes(1, 2) for x in (found[name], wanted[name]))
        assert np.abs(a[places] - b[places]).mean() < 2 * BOUND * b[places].std()
        if name == "logits":
            assert not a[~places].any()
        else:
            held = given[name.replace("present", "past_key_values")].swapaxes(1, 2)
            np.testing.assert_array_equal(a[:, :past][~real[:, :past]], held[~real[:, :past]])


@pytest.mark.parametrize("side", ["left", "right"])
def test_each_sequence_is_what_it_is_alone(side: str) -> None:
    given, one = inputs(side, 0, 4), session()
    found = one.run(given)
    for index, length in enumerate(LENGTHS):
        mask = given["attention_mask"][index].astype(bool)
        alone = {name: array[index : index + 1] for name, array in given.items()}
        for name in ("input_ids", "attention_mask", "position_ids"):
            alone[name] = alone[name][:, mask]
        wanted = one.run(alone)
        assert wanted["logits"].shape[1] == length
        np.testing.assert_array_equal(found["logits"][index, mask], wanted["logits"][0])


def test_an_encoder_takes_padding_behind_its_tokens() -> None:
    """It counts its positions itself."""
    reference, one = onnxruntime.InferenceSession(BERT), session(BERT)
    dice, mask = rng(6), padded("right", 9)
    given = {"input_ids": dice.integers(3, 250, (4, 9)), "attention_mask": mask}
    if any(value.name == "token_type_ids" for value in reference.get_inputs()):
        given["token_type_ids"] = dice.integers(0, 2, (4, 9))
    (wanted, *_), found = reference.run(None, given), one.run(given)
    real = mask.astype(bool)
    first = found[reference.get_outputs()[0].name]
    assert np.abs(first[real] - wanted[real]).mean() < 2 * BOUND * wanted[real].std()
    given["attention_mask"] = padded("left", 9)
    with pytest.raises(InputError, match=r"^sequence 1 .*counts its positions itself, so padding"):
        one.run(given)
