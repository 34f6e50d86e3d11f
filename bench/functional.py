"""The functional simulator on golden texts: speed, and agreement with onnxruntime in fp32.

Teacher forcing: after every prefix of a text the next token's logits are compared, whatever the
chip would have chosen before. The prompt is one prefill, every other token one decode step.
"""

from collections.abc import Iterator

import numpy as np
import onnxruntime
from measure import Line, Stopwatch
from trained import Text, Trained, onnx_inputs

from isa.image import ProgramImage
from sim.backends import make_backend
from sim.runtime import Session

TOKENS_PER_SECOND = 20  # wanted of the simulator
AGREEMENT_PERCENT = 98  # wanted of the arithmetic: choices of the next token


def measure(model: Trained, image: ProgramImage, quick: bool) -> Iterator[Line]:
    """The speed of decoding, then agreement and logit errors over all positions."""
    texts = model.texts(1 if quick else None)
    session = Session(image, make_backend("functional"))
    prefill, decode = Stopwatch(), Stopwatch()
    logits = [_run(session, text, prefill, decode) for text in texts]
    prompts = sum(text.prompt for text in texts)
    steps = sum(len(text.ids) for text in texts) - prompts
    note = f"{steps} steps; prefill {prompts / prefill.seconds:.0f} tokens/s"
    speed = steps / decode.seconds
    yield Line("functional", model.name, speed, "tokens/s", TOKENS_PER_SECOND, note=note)
    yield from _agreement(model, image, texts, logits)


def _run(session: Session, text: Text, prefill: Stopwatch, decode: Stopwatch) -> np.ndarray:
    """Logits (n, vocabulary) of one text."""
    session.reset()
    rows = [prefill.time(session.step, text.ids[: text.prompt])]
    rows += [decode.time(session.step, [token]) for token in text.ids[text.prompt :]]
    return np.concatenate(rows)


def _agreement(
    model: Trained, image: ProgramImage, texts: list[Text], logits: list[np.ndarray]
) -> Iterator[Line]:
    reference = onnxruntime.InferenceSession(str(model.path))
    same = total = 0
    errors, references = [], []
    for text, actual in zip(texts, logits, strict=True):
        wanted = reference.run(["logits"], onnx_inputs(image, text.ids))[0][0]
        same += int((actual.argmax(1) == wanted.argmax(1)).sum())
        total += len(text.ids)
        errors.append(np.abs(actual - wanted))
        references.append(wanted)
    error, logit = np.concatenate(errors), np.concatenate(references)
    note = f"{same} of {total} next tokens"
    yield Line("agreement", model.name, 100 * same / total, "%", AGREEMENT_PERCENT, note=note)
    spread = f"of logits from {logit.min():.1f} to {logit.max():.1f}"
    yield Line("logit error, mean", model.name, float(error.mean()), "", note=spread)
    yield Line("logit error, maximum", model.name, float(error.max()), "", note=spread)
