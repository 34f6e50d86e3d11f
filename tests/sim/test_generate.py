"""Text generation with a tokenizer made here."""

import json
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from sim.backends import make_backend
from sim.generate import greedy, load_tokenizer, stream_text
from sim.host import InputError
from sim.runtime import Session
from tests.sim.echo import CONTEXT, VOCABULARY, echo_image, next_token


def session() -> Session:
    return Session(echo_image(), make_backend("functional"))


def words(end: str = "w15") -> Tokenizer:
    vocabulary = {f"w{i}": i for i in range(VOCABULARY - 1)} | {end: VOCABULARY - 1}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return tokenizer


def chain(token: int, count: int) -> list[int]:
    """What follows a token."""
    tokens = [token]
    for _ in range(count):
        tokens.append(next_token(tokens[-1]))
    return tokens[1:]


def test_greedy_takes_the_likeliest_token_each_time():
    assert list(greedy(session(), [1, 4, 2], 6, set())) == chain(2, 6)


def test_greedy_stops_where_it_should():
    wanted = chain(2, 20)
    assert list(greedy(session(), [2], 20, {wanted[3]})) == wanted[:3]
    assert list(greedy(session(), [2], 20, {wanted[0]})) == []
    full = list(greedy(session(), [2] * 10, 20, set()))
    assert full == wanted[: CONTEXT - 10 + 1]  # the last token needs no room


def test_text_comes_in_pieces_that_make_up_the_whole():
    pieces = list(stream_text(session(), words(), "w1 w2", 4))
    assert pieces[0] == "w1 w2"
    assert "".join(pieces) == " ".join(f"w{t}" for t in [1, 2, *chain(2, 4)])
    assert len(pieces) >= 5


def test_the_end_token_ends_the_text():
    first = chain(2, 16).index(15)
    text = "".join(stream_text(session(), words("</s>"), "w2", 16))
    assert text.split() == [f"w{t}" for t in [2, *chain(2, first)]]


def test_bad_prompts():
    with pytest.raises(InputError, match=r"^the prompt must have at least one token$"):
        list(stream_text(session(), words(), "", 4))
    with pytest.raises(
        InputError, match=r"^the prompt has 17 tokens, the program's context 16: sho"
    ):
        list(stream_text(session(), words(), "w1 " * 17, 4))


def test_tokenizer_files(tmp_path: Path):
    path = tmp_path / "tokenizer.json"
    words().save(str(path))
    assert load_tokenizer(path).encode("w3").ids == [3]
    with pytest.raises(InputError, match=r"none\.json: No such file or directory$"):
        load_tokenizer(tmp_path / "none.json")
    path.write_text(json.dumps({"x": 1}))
    with pytest.raises(InputError, match=r"tokenizer\.json: not a tokenizer\.json: "):
        load_tokenizer(path)
    path.write_bytes(b"\xff\xfe\xfd")
    with pytest.raises(InputError, match=r"tokenizer\.json: not a text file$"):
        load_tokenizer(path)
