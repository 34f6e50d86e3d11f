"""The RTL of `tiny`, verilated, on one thread: tokens a second, cycles a token, clock rate."""

from collections.abc import Iterator

import numpy as np
from measure import Line, Stopwatch
from trained import Trained

from isa.image import ProgramImage
from sim.backends import make_backend
from sim.report import macs
from sim.runtime import Session

TOKENS_PER_SECOND = 1  # wanted of the verilated core
PREFILL_TOKENS = 32
DECODE_STEPS = {True: 2, False: 16}  # by `quick`


def measure(model: Trained, image: ProgramImage, quick: bool) -> Iterator[Line]:
    """A prefill of a golden text's first tokens, then decode steps along the text."""
    ids = model.texts(1)[0].ids
    steps = DECODE_STEPS[quick]
    session = Session(image, make_backend("rtl"))
    yield from _phase(model, session, "prefill", [ids[:PREFILL_TOKENS]])
    tokens = ids[PREFILL_TOKENS : PREFILL_TOKENS + steps]
    yield from _phase(model, session, "decode", [np.array([token]) for token in tokens])


def _phase(
    model: Trained, session: Session, phase: str, inputs: list[np.ndarray]
) -> Iterator[Line]:
    watch, cycles = Stopwatch(), session.cycles
    before = macs(session.image.config, session.counters)
    first = session.past
    for ids in inputs:
        watch.time(session.step, ids)
    tokens, cycles = session.past - first, session.cycles - cycles
    rate = (macs(session.image.config, session.counters) - before) / cycles
    what = f"{model.name}, {phase}"
    note = f"positions {first} to {session.past - 1}, {rate:.1f} MACs a cycle"
    speed, clock = tokens / watch.seconds, cycles / watch.seconds
    yield Line("RTL", what, speed, "tokens/s", TOKENS_PER_SECOND, note=note)
    yield Line("RTL cycles", what, cycles / tokens, "cycles/token", note=note)
    yield Line("RTL clock", what, clock / 1000, "kHz", note="one thread of Verilator")
