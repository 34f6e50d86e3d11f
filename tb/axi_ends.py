"""Both ends of AXI4's channels, and masters made of them, for cocotb benches: agents.

Unlike cocotbext-axi's they run on both simulators, let beats come before their address, change
their pace while they run, and put noise where nobody may look.
"""

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tb.agents import Ports, Stable, state_of

FIELDS = {
    **dict.fromkeys(("ar", "aw"), ("id", "addr", "len", "size", "burst")),
    "w": ("data", "strb", "last"),
    "r": ("id", "data", "resp", "last"),
    "b": ("id", "resp"),
}
PACES = (0.0, 0.0, 0.3, 0.95)
_PACE_CYCLES = 60  # for which a pace lasts, on the average


class _End:
    """``stall``: share of cycles in which this end holds the channel up; None: one of PACES, for a
    while each."""

    def __init__(self, dut, port: str, channel: str, stall: float | None) -> None:
        self.ports, self.channel, self.fields = Ports(dut, port), channel, FIELDS[channel]
        self._changes, self._stall = stall is None, stall or 0.0
        self.state = "none"  # of this cycle

    def _go(self) -> bool:
        if self._changes and random.random() * _PACE_CYCLES < 1:
            self._stall = random.choice(PACES)
        return random.random() >= self._stall

    def _get(self, member: str) -> int:
        return self.ports.get(self.channel + member)

    def _set(self, member: str, value: int) -> None:
        self.ports.set(self.channel + member, value)


class Sends(_End):
    """Sends the tuples of `queue` (in the order of FIELDS); `on_take` is called with each."""

    def __init__(self, dut, port: str, channel: str, stall: float | None) -> None:
        super().__init__(dut, port, channel, stall)
        self.queue: deque[tuple[int, ...]] = deque()
        self.on_take: Callable[[tuple[int, ...]], None] = lambda item: None
        self._offered = False

    def idle(self) -> None:
        for member in (*self.fields, "valid"):
            self._set(member, 0)

    def drive(self) -> None:
        if not self._offered:
            self._offered = self._go() and bool(self.queue)
            self._set("valid", self._offered)
            for index, member in enumerate(self.fields):
                if self._offered:
                    self._set(member, self.queue[0][index])
                else:
                    self.ports.noise(self.channel + member)

    def sample(self) -> None:
        self.state = state_of(self._offered, self._get("ready"))
        if self.state == "taken":
            self._offered = False
            self.on_take(self.queue.popleft())


class Takes(_End):
    """Takes what is offered, which must stay until then; `on_take` is called with each tuple."""

    def __init__(self, dut, port: str, channel: str, stall: float | None) -> None:
        super().__init__(dut, port, channel, stall)
        self.on_take: Callable[[tuple[int, ...]], None] = lambda item: None
        self._stable = Stable(f"{port}.{channel}")

    def idle(self) -> None:
        self._set("ready", 0)

    def drive(self) -> None:
        self._ready = self._go()
        self._set("ready", self._ready)

    def sample(self) -> None:
        valid = self._get("valid")
        self.state = state_of(valid, self._ready)
        offer = tuple(self._get(member) for member in self.fields) if valid else ()
        self._stable.check(valid, self._ready, offer)
        if self.state == "taken":
            self.on_take(offer)


@dataclass(frozen=True)
class Burst:
    """An address channel's transfer: `FIELDS`, with `beats` for len."""

    identity: int
    address: int
    beats: int
    size: int
    kind: int = 1

    def transfer(self) -> tuple[int, ...]:
        return self.identity, self.address, self.beats - 1, self.size, self.kind


class ReadMaster:
    """Asks, and compares all beats; they must come in the order of the requests.

    Of a beat with an error the data are not looked at. ``resp``: of each beat.
    """

    def __init__(self, dut, stall: float | None, port: str = "axi") -> None:
        self.asks, self._beats = Sends(dut, port, "ar", stall), Takes(dut, port, "r", stall)
        self._beats.on_take = self._compare
        self.agents = (self.asks, self._beats)
        self.due: deque[tuple[Burst, int, int, int]] = deque()
        self.on_end: Callable[[Burst], None] = lambda burst: None

    @property
    def state(self) -> str:
        """Of a beat in this cycle."""
        return self._beats.state

    def ask(self, burst: Burst, data: Sequence[int], resp: Sequence[int]) -> None:
        self.asks.queue.append(burst.transfer())
        for index in range(burst.beats):
            self.due.append((burst, data[index], resp[index], int(index == burst.beats - 1)))

    def _compare(self, beat: tuple[int, ...]) -> None:
        assert self.due, f"a beat that was not asked for: {beat}"
        burst, data, resp, last = self.due.popleft()
        identity, got, code, ends = beat
        wanted = burst.identity, resp, last
        assert (identity, code, ends) == wanted, f"{burst}: {(identity, code, ends)}, not {wanted}"
        assert resp or got == data, f"{burst}: {got:#x}, not {data:#x}"
        if last:
            self.on_end(burst)


class WriteMaster:
    """Writes, and compares all answers; they must come in the order of the requests."""

    def __init__(self, dut, stall: float | None, port: str = "axi") -> None:
        self.asks, self.beats = Sends(dut, port, "aw", stall), Sends(dut, port, "w", stall)
        self._answers = Takes(dut, port, "b", stall)
        self._answers.on_take = self._compare
        self.agents = (self.asks, self.beats, self._answers)
        self.due: deque[tuple[Burst, int]] = deque()
        self.on_end: Callable[[Burst], None] = lambda burst: None

    @property
    def state(self) -> str:
        """Of an answer in this cycle."""
        return self._answers.state

    def ask(self, burst: Burst, beats: Sequence[tuple[int, int]], resp: int) -> None:
        """``beats``: data and strobes."""
        self.asks.queue.append(burst.transfer())
        for index, (data, strobes) in enumerate(beats):
            self.beats.queue.append((data, strobes, int(index == burst.beats - 1)))
        self.due.append((burst, resp))

    def _compare(self, answer: tuple[int, ...]) -> None:
        assert self.due, f"an answer too many: {answer}"
        burst, resp = self.due.popleft()
        assert answer == (burst.identity, resp), f"{burst}: {answer}"
        self.on_end(burst)
