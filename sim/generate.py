"""Greedy text generation: tokenizer in front, decoder program behind."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from isa.iomap import STOPS
from sim.host import InputError
from sim.runtime import Session

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_END_TOKENS = ("</s>", "<|endoftext|>", "<eos>", "<|end_of_text|>", "<|im_end|>")
_UNFINISHED = "\ufffd"  # what a decoder makes of the first bytes of a character


def load_tokenizer(path: str | Path) -> "Tokenizer":
    """A tokenizer.json of the `tokenizers` library; InputError if the file is none."""
    from tokenizers import Tokenizer

    try:
        text = Path(path).read_text()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise InputError(f"{path}: {reason}") from None
    try:
        return Tokenizer.from_str(text)
    except Exception as error:  # the library raises Exception itself
        raise InputError(f"{path}: not a tokenizer.json: {error}") from None


def greedy(
    session: Session, prompt: list[int], tokens: int, stop: set[int], launch: int = 1
) -> Iterator[int]:
    """Up to ``tokens`` continuations of a prompt, each the likeliest; ends at a token of ``stop``
    (which is not yielded) and where the context is full. With a ``launch`` above 1 the program
    chooses so many tokens before the host looks at them. Raises InputError."""
    most = session.image.io.largest_launch
    while len(prompt) > most:
        session.step(prompt[:most])
        prompt = prompt[most:]
    if launch > 1:
        yield from _launches(session, prompt, tokens, stop, launch)
        return
    logits = session.step(prompt)
    for _ in range(tokens):
        token = int(logits[-1].argmax())
        if token in stop:
            return
        yield token
        if session.past >= session.max_context:
            return
        logits = session.step([token])


def _launches(
    session: Session, ids: list[int], tokens: int, stop: set[int], launch: int
) -> Iterator[int]:
    while tokens > 0:
        found = session.choose(ids, min(launch, tokens), sorted(stop)[:STOPS])
        for token in found:
            if token in stop:
                return
            yield token
        tokens, ids = tokens - len(found), found[-1:]
        if session.past >= session.max_context:
            return


def prompt_ids(tokenizer: "Tokenizer", prompt: str, context: int) -> list[int]:
    """The prompt's tokens; InputError if there are none, or more than ``context``."""
    ids = list(tokenizer.encode(prompt).ids)
    if not ids:
        raise InputError("the prompt must have at least one token")
    if len(ids) > context:
        raise InputError(
            f"the prompt has {len(ids)} tokens, the program's context {context}: "
            f"shorten it or compile with a larger --max-context"
        )
    return ids


def end_tokens(tokenizer: "Tokenizer") -> set[int]:
    """Those that end a text, of the names that are in use for them."""
    known = (tokenizer.token_to_id(name) for name in _END_TOKENS)
    return {token for token in known if token is not None}


def stream_text(
    session: Session, tokenizer: "Tokenizer", prompt: str, tokens: int, launch: int = 1
) -> Iterator[str]:
    """The prompt as the model reads it, then its continuation, piece by piece as it is computed;
    ``launch`` as in `greedy`."""
    ids, stop = prompt_ids(tokenizer, prompt, session.max_context), end_tokens(tokenizer)
    written = tokenizer.decode(ids)
    yield written
    for token in greedy(session, list(ids), tokens, stop, launch):
        ids.append(token)
        text = tokenizer.decode(ids)
        if not text.endswith(_UNFINISHED):
            yield text[len(written) :]
            written = text
    yield tokenizer.decode(ids)[len(written) :]
