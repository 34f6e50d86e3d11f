"""Random bursts at an HBM controller, or at all of a chip's, against an array of bytes."""

import random
from collections import Counter

from tb.axi_ends import Burst, ReadMaster, WriteMaster
from tb.coverage import Coverage
from tb.memory_agents import PAGE_BYTES

KINDS = ("read", "write")
_OKAY, _SLVERR = 0, 2
_STROBES = ("none", "some", "all")
_ENDS = ("even", "odd")  # beats: the first and second ones of a column


class Accesses:
    """An agent. Makes ``count`` bursts below ``limit``, in bouts with pauses between them.

    A read and a write of one byte are never under way together. `memory` is what must be held when
    all is written; `under_way` the bursts that are not answered, with their kind.
    """

    def __init__(
        self,
        dut,
        memory: bytearray,
        limit: int,
        count: int,
        stall: float | None,
        cover: Coverage,
    ) -> None:
        self.reads, self.writes = ReadMaster(dut, stall), WriteMaster(dut, stall)
        self.agents = [self, *self.reads.agents, *self.writes.agents]
        self.memory, self.limit = memory, limit
        self.left, self.cover = count, cover
        self.width, self.ids = len(dut.axi_wdata) // 8, 1 << len(dut.axi_awid)
        self.under_way: dict[Burst, str] = {}
        self.inside: Counter[str] = Counter()  # of which the address was taken
        for kind, master in zip(KINDS, (self.reads, self.writes), strict=True):
            master.on_end = lambda burst, kind=kind: self._end(kind, burst)
            master.asks.on_take = lambda _, kind=kind: self.inside.update([kind])
        self.wanted: tuple[str, Burst] | None = None
        self.now = self.until = 0
        cover.point("burst", {"kind": KINDS, "starts": _ENDS, "ends": _ENDS})
        cover.point("refused", {"kind": KINDS})
        cover.point("strobes", {"of a beat": _STROBES})
        cover.point("under way", dict.fromkeys(KINDS, ("none", "one", "more")))

    @property
    def done(self) -> bool:
        return not (self.left or self.under_way)

    def _pace(self) -> None:
        """For a while: where, what, how much at a time."""
        pages = self.limit // PAGE_BYTES
        self.pages = random.sample(range(pages), random.choice([1, 3, 8]))
        self.share = random.choice([0, 0.5, 0.5, 1])  # of reads
        self.most = random.choice([0, 1, 4, 16, 16])
        self.beats = random.choice([2, 4, 30])
        self.until = self.now + random.choice([50, 150, 500])

    def idle(self) -> None:
        """All ports are driven by the masters."""

    def drive(self) -> None:
        if self.now >= self.until:
            self._pace()
        self.now += 1
        if self.wanted is None and self.left and len(self.under_way) < self.most:
            kind = KINDS[random.random() >= self.share]
            burst = self._burst()
            # They are told apart by what they are.
            if burst not in self.under_way:
                self.wanted = kind, burst
        if self.wanted and not self._meets(*self.wanted):
            self._begin(*self.wanted)
            self.wanted, self.left = None, self.left - 1

    def sample(self) -> None:
        """What is under way in this cycle."""
        counts = (sum(k == kind for k in self.under_way.values()) for kind in KINDS)
        self.cover.hit(
            "under way", *("none" if n == 0 else "one" if n == 1 else "more" for n in counts)
        )

    def _burst(self) -> Burst:
        width, shift = self.width, (self.width - 1).bit_length()
        beats = random.randint(1, self.beats)
        most = PAGE_BYTES // width - beats
        page, place = random.choice(self.pages), random.randint(0, most)
        dice = random.random()
        if dice < 0.1:  # ends where memory does, or so many beats before or behind that
            beat = self.limit // width + random.choice([0, -1, 1]) * (1 << random.randrange(8))
            page, place = divmod(beat - beats, PAGE_BYTES // width)
            place = min(place, most)
        address = PAGE_BYTES * page + width * place
        if dice > 0.96:
            address += 1 << (self.limit - 1).bit_length()  # behind memory
        offset = random.choice([0, 0, random.randrange(width)])
        return Burst(random.randrange(self.ids), address + offset, beats, shift)

    def _meets(self, kind: str, burst: Burst) -> bool:
        start, end = self._bytes(burst)
        for other, its in self.under_way.items():
            first, last = self._bytes(other)
            if its != kind and start < last and first < end:
                return True
        return False

    def _bytes(self, burst: Burst) -> tuple[int, int]:
        first = burst.address // self.width * self.width
        return first, first + burst.beats * self.width

    def _begin(self, kind: str, burst: Burst) -> None:
        self.under_way[burst] = kind
        first, end = self._bytes(burst)
        refused, width = end > self.limit, self.width
        resp = _SLVERR if refused else _OKAY
        halves = (_ENDS[at // width % 2] for at in (first, end - 1))
        self.cover.hit("burst", kind, *halves)
        if refused:
            self.cover.hit("refused", kind)
        if kind == "read":
            data = [self.memory[at : at + width] for at in range(first, end, width)]
            values = [int.from_bytes(beat, "little") for beat in data]
            self.reads.ask(burst, values, [resp] * burst.beats)
            return
        beats = []
        for at in range(first, end, width):
            data, full = random.randbytes(width), (1 << width) - 1
            strobes = random.choice([0, full, full, random.getrandbits(width)])
            self.cover.hit("strobes", _STROBES[(strobes > 0) + (strobes == full)])
            beats.append((int.from_bytes(data, "little"), strobes))
            for place in range(width if not refused else 0):
                if strobes >> place & 1:
                    self.memory[at + place] = data[place]
        self.writes.ask(burst, beats, resp)

    def _end(self, kind: str, burst: Burst) -> None:
        del self.under_way[burst]
        self.inside[kind] -= 1
