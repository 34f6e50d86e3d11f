"""The static checker on a program image: which launches it follows.

A trace holds for one (S, P): new and past tokens. Programs of models are checked for the corners in
:func:`corner_cases`; between them only register values change, monotonously.
"""

import numpy as np

from isa.image import ProgramImage
from isa.iomap import NO_STOP, STOPS, WORD_BYTES
from sim.checker import Checker


def corner_cases(context: int, chunk: int, tile: int = 0) -> list[tuple[int, int]]:
    """(S, P) around the sizes at which the program's behaviour changes; ``tile``: of keys."""
    cases = {(1, 0), (1, 1), (1, context - 1), (chunk, 0), (chunk, context - chunk)}
    cases |= {
        (chunk + 1, 0),
        (chunk + 1, context - chunk - 1),
        (2 * chunk + 3, 5),
        (2, context // 2),
    }
    if tile:  # one before its end, across it, at its end, and within a later one
        cases |= {(1, tile - 1), (chunk, tile - 1), (1, tile), (chunk + 1, 2 * tile + 1)}
    return sorted((s, p) for s, p in cases if s >= 1 and p >= 0 and s + p <= context)


def check_image(image: ProgramImage) -> int:
    """Check a program: a model's for every corner case. Returns the commands checked."""
    memory = image.memory(filled=not image.io.is_model)  # data decides nothing
    if not image.io.is_model:
        return Checker(image.config, image).run(memory)
    total, checker = 0, Checker(image.config, image)
    chunk, tile = (int(str(image.meta.get(name, 0))) for name in ("chunk", "tile"))
    cases = corner_cases(image.io.max_context, max(chunk, 1), tile)
    for new, past in cases:
        if (past and not image.io.causal) or new > image.io.largest_launch:
            continue
        total += _check_launch(checker, memory, (new, past, 0))
    if image.io.slots:
        total += _check_slots(checker, memory)
    if image.io.generation:  # data is not touched: each chosen token is 0
        context = image.io.max_context
        for new, past, wanted in ((min(3, image.io.largest_launch), 0, 3), (1, context - 1, 2)):
            total += _check_launch(checker, memory, (new, past, wanted))
    return total


def _check_slots(checker: Checker, memory: np.ndarray) -> int:
    """A launch of all slots at different places, one of them without a token, pages mixed."""
    image, io, slots = checker.image, checker.image.io, checker.image.io.slots
    assert slots is not None
    io.write_sizes(memory, 0, 0)
    sizes = [slot % 2 if slots.count > 1 else 1 for slot in range(slots.count)]
    sizes[-1] = io.largest_launch - sum(sizes[:-1])
    pages = list(range(slots.pages))[::-1]
    for slot, new in enumerate(sizes):
        most = min(io.max_context, slots.pages // slots.count * slots.page_tokens)
        past = max(0, (most - new) * (slot + 1) // slots.count)
        count = -(-(past + new) // slots.page_tokens)
        slots.write(memory, slot, new, past, [pages.pop() for _ in range(count)])
    memory[io.new_address : io.new_address + WORD_BYTES].view(np.uint32)[0] = sum(sizes)
    return Checker(image.config, image, checker).run(memory)


def _check_launch(checker: Checker, memory: np.ndarray, sizes: tuple[int, int, int]) -> int:
    """S, P, and tokens that the program chooses."""
    image, io = checker.image, checker.image.io
    new, past, wanted = sizes
    if io.generation:
        first = io.generation.stops
        memory[first : first + STOPS * WORD_BYTES].view(np.uint32)[:] = NO_STOP
        for address, value in ((io.generation.wanted, wanted), (io.generation.made, 0)):
            memory[address : address + WORD_BYTES].view(np.uint32)[0] = value
    io.write_sizes(memory, new, past)
    return Checker(image.config, image, checker).run(memory)
