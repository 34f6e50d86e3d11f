"""Continuous batching: each text is what a run of its own gives."""

import pytest
from tokenizers import Tokenizer, models

from isa.image import ProgramImage, save_image
from sim.backends import make_backend
from sim.generate import greedy
from sim.host import InputError
from sim.runtime import Session
from sim.serve import serve
from sim.slots import Slots
from tests.sim.test_cli import call
from tests.sim.test_slots import program
from tests.support import rng

NAME = "stories260k/optimum_op18"
PAGES = 7  # of 32 tokens: three slots could take 15


@pytest.fixture(scope="module")
def image() -> ProgramImage:
    return program(NAME, 3, PAGES)


@pytest.fixture(scope="module")
def prompts() -> list[list[int]]:
    dice = rng(9)
    return [dice.integers(3, 500, count).tolist() for count in (5, 61, 1, 157, 30, 2)]


def slots_of(image: ProgramImage) -> Slots:
    return Slots(image, make_backend("functional"))


def served(slots: Slots, prompts: list[list[int]], tokens: int, stop: set[int]) -> list[list[int]]:
    found = dict(serve(slots, prompts, tokens, stop))
    assert sorted(found) == list(range(len(prompts)))
    return [found[number] for number in range(len(prompts))]


def test_texts_are_those_of_single_runs(image, prompts) -> None:
    """Six on three slots, with fewer pages than three of the longest need: some wait; one fills the
    context, one ends at a token."""
    sessions = [Session(image, make_backend("functional")) for _ in prompts]
    plain = list(greedy(sessions[2], prompts[2], 9, set()))
    stop = {plain[4]}
    pairs = zip(sessions, prompts, strict=True)
    sessions[2].reset()
    wanted = [list(greedy(session, list(ids), 9, stop)) for session, ids in pairs]
    assert wanted[2] == plain[: plain.index(plain[4])]
    assert len(wanted[3]) == 4 or stop & set(wanted[3])  # the context holds 160
    slots = slots_of(image)
    assert served(slots, prompts, 9, stop) == wanted
    assert slots.sequences == []
    together = slots.runs
    alone = slots_of(image)
    assert [served(alone, [ids], 9, stop)[0] for ids in prompts] == wanted
    assert together < alone.runs  # they share launches


def test_a_long_prompt_goes_beside_the_tokens_of_others(image, prompts) -> None:
    """Not before them: the first one is written while the second one is read."""
    slots = slots_of(image)
    texts = serve(slots, [prompts[0], prompts[1]], 4, set())
    assert next(texts)[0] == 0
    assert slots.runs == 4
    assert slots.past(1) == 3 + 7 + 7 + 7  # what 5, then 1 of the first one leave of 8
    assert next(texts)[0] == 1


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([], "prompt 2 must have 1 … 160 tokens, not 0"),
        ([5] * 161, "prompt 2 must have 1 … 160 tokens, not 161"),
    ],
)
def test_reject_what_can_never_be_read(image, ids: list[int], message: str) -> None:
    slots = slots_of(image)
    with pytest.raises(InputError, match=message):
        next(serve(slots, [[4], ids], 8, set()))
    assert slots.runs == 0


def test_the_command_writes_several_texts(image, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    save_image(image, "slots.jx")
    vocabulary = {f"w{token}": token for token in range(512)}
    Tokenizer(models.WordLevel(vocabulary, unk_token="w0")).save("tokenizer.json")
    both = ["--prompt", "w7", "--prompt", "w9", "--tokens", "3"]
    words = ["generate", "slots.jx", "--tokenizer", "tokenizer.json", *both]
    assert call(monkeypatch, *words) == 0
    captured = capsys.readouterr()
    for number, token in enumerate((7, 9)):
        session = Session(image, make_backend("functional"))
        text = " ".join(f"w{t}" for t in (token, *greedy(session, [token], 3, set())))
        assert captured.out.splitlines()[number] == f"[{number + 1}] {text}"
    assert "2 texts, 6 tokens in " in captured.err
    assert ", 3 launches" in captured.err
    assert call(monkeypatch, *words, "--launch", "2") == 1
    problem = "slots.jx: several --prompt need a --launch of 1"
    assert problem in " ".join(capsys.readouterr().err.split())
