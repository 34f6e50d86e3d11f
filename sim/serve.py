"""Continuous batching: texts share the launches of a program with slots, and join as others end.

Each launch takes one token of every text that is being written; what room is left goes to prompts,
in the order in which they came, so a long one comes in parts beside the others' tokens.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from isa.image import ProgramImage
from sim.backends import Backend
from sim.generate import end_tokens, prompt_ids
from sim.host import InputError
from sim.slots import Slots

if TYPE_CHECKING:
    from tokenizers import Tokenizer


@dataclass
class _Text:
    number: int
    waiting: list[int]  # tokens that the program has not read
    pages: int  # of the cache, for all that it may become
    written: list[int] = field(default_factory=list)


def serve(
    slots: Slots, prompts: Sequence[Sequence[int]], tokens: int, stop: set[int]
) -> Iterator[tuple[int, list[int]]]:
    """Yields (which prompt, its continuation) as each text ends: after ``tokens`` tokens, each the
    likeliest, before one of ``stop``, or where the context is full. InputError, before anything is
    run, for a prompt that can never be read."""
    queue = [_admissible(slots, number, ids, tokens) for number, ids in enumerate(prompts)]
    active: dict[int, _Text] = {}
    context = slots.io.max_context
    while queue or active:
        _admit(slots, queue, active)
        launch = _launch(slots.io.largest_launch, active)
        for slot, logits in slots.step(launch).items():
            text = active[slot]
            del text.waiting[: len(launch[slot])]
            if text.waiting:
                continue
            token = int(logits[-1].argmax())
            text.written += [token] * (token not in stop)
            if token not in stop and len(text.written) < tokens and slots.past(slot) < context:
                text.waiting = [token]
            else:
                slots.leave(slot)
                del active[slot]
                yield text.number, text.written


def write_texts(
    program: ProgramImage,
    backend: Backend,
    tokenizer: "Tokenizer",
    prompts: Sequence[str],
    tokens: int,
) -> Slots:
    """Print each prompt with its continuation as it ends, numbered; the slots, for their counts."""
    slots = Slots(program, backend)
    ids = [prompt_ids(tokenizer, prompt, program.io.max_context) for prompt in prompts]
    for number, written in serve(slots, ids, tokens, end_tokens(tokenizer)):
        print(f"[{number + 1}] {tokenizer.decode(ids[number] + written)}", flush=True)
    return slots


def _admissible(slots: Slots, number: int, ids: Sequence[int], tokens: int) -> _Text:
    """A text with all the pages that it may need: none is stopped on the way for want of one. There
    are always as many as one context takes."""
    layout, context = slots.io.slots, slots.io.max_context
    assert layout is not None
    if not 0 < len(ids) <= context:
        problem = f"prompt {number + 1} must have 1 … {context} tokens, not {len(ids)}"
        raise InputError(problem)
    last = min(len(ids) + tokens - 1, context)  # what is written last is not read
    return _Text(number, list(ids), -(-last // layout.page_tokens))


def _admit(slots: Slots, queue: list[_Text], active: dict[int, _Text]) -> None:
    """Texts join in order, while there are slots and pages for all that they may become."""
    layout = slots.io.slots
    assert layout is not None
    while queue and len(active) < layout.count:
        free = layout.pages - sum(text.pages for text in active.values())
        if queue[0].pages > free:
            return
        active[slots.join()] = queue.pop(0)


def _launch(most: int, active: dict[int, _Text]) -> dict[int, list[int]]:
    """The tokens of a launch by slot: writers first, then prompts in order."""
    launch: dict[int, list[int]] = {}
    order = sorted(active, key=lambda slot: (not active[slot].written, active[slot].number))
    for slot in order:
        part = active[slot].waiting[:most]
        if part:
            launch[slot] = part
            most -= len(part)
    return launch
