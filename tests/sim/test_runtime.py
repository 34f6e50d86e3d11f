"""Sessions: ONNX arrays in, ONNX arrays out."""

import numpy as np
import pytest

from isa.config import load_config
from isa.image import ProgramImage
from sim.backends import make_backend
from sim.host import InputError
from sim.runtime import Session
from tests.sim.echo import cache_table, echo_image, logits_table
from tests.support import rng


def session() -> Session:
    return Session(echo_image(), make_backend("functional"))


def inputs(ids: list[int], past: int = 0) -> dict[str, np.ndarray]:
    count = len(ids)
    cache = rng(1).integers(-9, 9, (1, 2, past, 4)).astype(np.float32)
    return {
        "input_ids": np.array([ids], np.int64),
        "attention_mask": np.ones((1, past + count), np.int64),
        "position_ids": np.arange(past, past + count)[None],
        "past.0": cache,
    }


def test_steps_keep_the_cache_on_the_chip():
    s = session()
    assert np.array_equal(s.step([3, 9, 1]), logits_table()[[3, 9, 1]])
    assert np.array_equal(s.step(np.array([7])), logits_table()[[7]])
    assert (s.past, s.runs, s.cycles) == (4, 2, 0)
    assert s.counters["load_instructions"] == 8
    rows = s.hbm[0x1000:0x1100].view(np.uint16).reshape(4, 2, 16)[:, :, :4].astype(np.uint32) << 16
    assert np.array_equal(rows.view(np.float32), cache_table()[[3, 9, 1, 7]])
    s.step([0, 8])
    assert s.hbm[0x100:0x108].view(np.int32).tolist() == [0, 8]
    assert s.hbm[0x140:0x148].view(np.int32).tolist() == [4, 5]  # positions
    s.reset()
    s.step([5])
    assert s.past == 1


def test_runs_take_and_give_arrays_as_the_onnx_file_has_them():
    s, given = session(), inputs([4, 2], past=5)
    outputs = s.run(given)
    assert list(outputs) == ["logits", "present.0"]
    assert outputs["logits"].shape == (1, 2, 16)
    assert np.array_equal(outputs["logits"][0], logits_table()[[4, 2]])
    new = cache_table()[[4, 2]].transpose(1, 0, 2)[None]
    assert np.array_equal(outputs["present.0"], np.concatenate([given["past.0"], new], axis=2))
    assert {array.dtype.name for array in outputs.values()} == {"float32"}
    assert np.array_equal(s.step([6]), logits_table()[[6]])  # goes on behind it
    assert s.past == 8


def test_a_past_may_be_empty_and_values_are_rounded_to_bf16():
    s = session()
    assert s.run(inputs([1]))["present.0"].shape == (1, 2, 1, 4)
    given = inputs([1], past=1)
    given["past.0"][0, 0, 0, 0] = 1 + 2**-8 + 2**-20
    assert s.run(given)["present.0"][0, 0, 0, 0] == 1 + 2**-7


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_ids": None}, "input 'input_ids' is missing"),
        ({"past.0": None}, "input 'past.0' is missing"),
        ({"foo": np.zeros(1)},
         "unknown input 'foo', the model has input_ids, attention_mask, position_ids, past.0"),
        ({"input_ids": np.zeros((1, 2), np.float32)},
         "input 'input_ids' must be of type int64, not float32"),
        ({"past.0": np.zeros((1, 2, 3, 4), np.int64)},
         "input 'past.0' must be of type float32, not int64"),
        ({"input_ids": np.int64([3, 1])}, "input 'input_ids' must have shape (1, 2), not (2,)"),
        ({"input_ids": np.int64([[3], [1]])},
         "inputs must be of one batch, not 2 of 'input_ids', 1 of 'attention_mask', 1 of "
         "'position_ids', 1 of 'past.0'"),
        ({"input_ids": np.zeros((1, 0), np.int64), "attention_mask": np.int64([[1, 1, 1]]),
          "position_ids": np.zeros((1, 0), np.int64)}, "'input_ids' must hold at least one token"),
        ({"past.0": np.zeros((1, 4, 3, 2), np.float32)},
         "input 'past.0' must have shape (1, 2, 3, 4), not (1, 4, 3, 2)"),
        ({"past.0": np.zeros(5, np.float32)},
         "input 'attention_mask' must have shape (1, 2), not (1, 5)"),
        ({"attention_mask": np.int64([[1, 1, 1, 1]])},
         "input 'attention_mask' must have shape (1, 5), not (1, 4)"),
        ({"attention_mask": np.int64([[1, 0, 1, 1, 1]])},
         "sequence 0 of the batch: padding must be in front of its tokens or behind them"),
        ({"attention_mask": np.int64([[1, 1, 1, 0, 0]])},
         "sequence 0 of the batch: its mask leaves no new token"),
        ({"attention_mask": np.int64([[1, 1, 1, 1, 2]])},
         "input 'attention_mask' must be 0 or 1, sequence 0 has 2"),
        ({"input_ids": np.int64([[3, 16]])}, "'input_ids' must be 0 … 15, not 16"),
        ({"input_ids": np.int64([[-1, 3]])}, "'input_ids' must be 0 … 15, not -1"),
        ({"position_ids": np.int64([[3, 99]])}, "'position_ids' must be 0 … 15, not 99"),
    ],
)  # fmt: skip
def test_bad_inputs_are_named(change: dict, message: str):
    given = inputs([3, 1], past=3) | change
    given = {name: array for name, array in given.items() if array is not None}
    with pytest.raises(InputError) as caught:
        session().run(given)
    assert str(caught.value) == message


def test_contexts_that_are_too_long_are_refused():
    s = session()
    with pytest.raises(InputError, match=r"^17 tokens exceed the program's context of 16: shorten"):
        s.step([1] * 17)
    s.step([1] * 14)
    with pytest.raises(InputError, match=r"^3 tokens behind 14 cached ones exceed the program's"):
        s.step([1] * 3)
    s.step([1] * 2)
    with pytest.raises(InputError, match=r"^'tokens' must hold at least one token$"):
        s.step([])
    with pytest.raises(InputError, match=r"^20 tokens behind 3 cached"):
        session().run(inputs([1] * 20, past=3))


def test_programs_without_a_model_have_no_session():
    with pytest.raises(InputError, match="the program has no model inputs"):
        Session(ProgramImage(load_config("tiny"), b""), make_backend("functional"))


def test_unknown_back_ends_are_refused():
    with pytest.raises(
        ValueError, match=r"^back end must be one of functional, rtl, cycle, not 'gpu'$"
    ):
        make_backend("gpu")
