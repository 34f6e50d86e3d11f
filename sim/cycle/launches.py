"""The launches that a report shows beside each other: prefill and decode apart."""

from collections.abc import Iterator
from dataclasses import dataclass

from isa.image import ProgramImage
from sim.costs import Cost, costs
from sim.cycle.profile import Profile, profile


@dataclass(frozen=True)
class Launch:
    """One launch, what it took, and what its nodes had to do."""

    name: str
    found: Profile
    costs: list[Cost]


def launches(
    image: ProgramImage, tokens: int, past: int, shown: Profile, exact: bool = False
) -> Iterator[Launch]:
    """The one that is ``shown``; of a decoder also its other half, the step behind a prefill or the
    prefill before a step, ``exact`` or not. Raises as `profile`."""
    sizes = [(tokens, past)]
    if image.io.causal and tokens > 1 and tokens + past < image.io.max_context:
        sizes.append((1, tokens + past))
    elif image.io.causal and past:
        sizes.insert(0, (past, 0))
    for size in sizes:
        same = size == (tokens, past)
        found = shown if same else profile(image, *size, shown.backend, exact)
        yield Launch(_name(image, *size), found, costs(image, *size))


def _name(image: ProgramImage, tokens: int, past: int) -> str:
    if not image.io.is_model:
        return "the program"
    behind = f" behind {past}" if past else ""
    return f"decode{behind}" if tokens == 1 else f"prefill of {tokens}{behind}"
