"""Which pieces a burst of the chip's memory port must be cut into, found beat by beat."""

import random
from dataclasses import dataclass
from itertools import groupby

from isa.config import ChipConfig
from isa.hbm import BEAT_BYTES
from tb.axi_ends import Burst
from tb.memory_agents import PAGE_BYTES

INCR = 1
REFUSALS = ("none", "crosses 4 KiB", "outside", "kind", "size")
MEMORY_BYTES = 0x25_4321_0940  # of the chips here; neither whole pages nor a power of two


@dataclass(frozen=True)
class Piece:
    """A burst at a pseudo-channel; ``beats`` are the port's, ``kind`` its AxBURST."""

    channel: int
    address: int
    beats: int
    kind: int

    def narrow_beats(self, config: ChipConfig) -> int:
        """Beats of the channel."""
        return self.beats * config.axi_bytes // BEAT_BYTES


def cut(config: ChipConfig, burst: Burst) -> list[Piece]:
    """The pieces, in order. One that must be refused is cut as well; none of it may be INCR."""
    mapping, width = config.hbm_mapping, config.axi_bytes
    first = burst.address // width * width
    places = [first + index * width for index in range(burst.beats)]
    together = min([PAGE_BYTES, *(1 << bit for bit in mapping.bits("channel"))])
    kind = 0 if refusal(config, burst) != "none" else INCR
    pieces = []
    for _, run in groupby(places, lambda place: place // together):
        run = list(run)
        channels = {mapping.locate(place % mapping.bytes).channel for place in run}
        assert len(channels) == 1
        pieces.append(Piece(channels.pop(), run[0], len(run), kind))
    return pieces


def refusal(config: ChipConfig, burst: Burst) -> str:
    """Which of REFUSALS."""
    if burst.kind != INCR:
        return "kind"
    if 1 << burst.size != config.axi_bytes:
        return "size"
    first = burst.address // config.axi_bytes
    pages = {(first + n) * config.axi_bytes // PAGE_BYTES for n in range(burst.beats)}
    if len(pages) > 1:
        return "crosses 4 KiB"
    return "outside" if (first + burst.beats) * config.axi_bytes > MEMORY_BYTES else "none"


def random_burst(config: ChipConfig, ids: int, address_bits: int, wrong: float) -> Burst:
    """Anywhere, mostly inside a page; of all lengths; ``wrong``: share of those to be refused for
    their kind, of those for their size, of those that may leave their page, and of those at the
    end of memory or behind it."""
    width = config.axi_bytes
    most = PAGE_BYTES // width
    beats = random.choice([1, 2, random.randint(1, 20), random.randint(1, min(most, 256)), most])
    beats = min(beats, 256)
    place = random.randint(0, most - beats)
    if random.random() < 0.3:
        place = most - beats if random.random() < 0.5 else 0
    if random.random() < wrong:
        place = random.randrange(most)
    page = random.randrange(MEMORY_BYTES) // PAGE_BYTES * PAGE_BYTES
    if random.random() < wrong:
        anywhere = random.randrange(MEMORY_BYTES, 1 << address_bits)
        page = random.choice([MEMORY_BYTES, anywhere]) // PAGE_BYTES * PAGE_BYTES
    offset = random.choice([0, random.randrange(width)])
    shift = (width - 1).bit_length()
    size = random.randrange(8) if random.random() < wrong else shift
    kind = random.randrange(4) if random.random() < wrong else INCR
    return Burst(random.randrange(ids), page + width * place + offset, beats, size, kind)
