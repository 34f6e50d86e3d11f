"""Memories behind the core's internal memory clients, for cocotb benches: stalls at random.

They also check the rules of bursts: aligned to a beat, never across 4 KiB, the last beat marked.
"""

import random
from collections import deque
from dataclasses import dataclass

from rtl.axi import REQUEST
from tb.agents import Ports, Stable, state_of
from tb.noise import Noise

PAGE_BYTES = 4096


@dataclass
class Burst:
    """A request, and what is left of it."""

    address: int
    beats: int
    due: int  # cycle from which its beats come
    asked: int  # beats of the request


class _Memory:
    """What both kinds of client have: requests of bursts."""

    def __init__(
        self, dut, name: str, memory: bytearray | Noise, beat_bytes: int, latency: int, stall: float
    ) -> None:
        self.requests, self.beats = Ports(dut, f"{name}_request"), Ports(dut, name)
        self.memory, self.beat_bytes, self.latency, self.stall = memory, beat_bytes, latency, stall
        self.stable: Stable | None = Stable(f"{name}.request")  # None: requests may change
        self.now = 0
        self.state = "none"  # of the beat in this cycle
        self.queue: deque[Burst] = deque()
        self.asked: list[tuple[int, int]] = []  # (address, beats) of every burst, in order
        self.asked_at: list[int] = []  # cycles in which they were taken

    def place(self, address: int) -> int:
        """Where in `memory` an address lies: a small memory comes again and again."""
        return address if isinstance(self.memory, Noise) else address % len(self.memory)

    @property
    def pending(self) -> bool:
        """Something that was asked for is not answered yet."""
        return bool(self.queue)

    def _go(self) -> bool:
        return random.random() >= self.stall

    def _drive_request(self) -> None:
        self.ready = self._go()
        self.requests.set("ready", self.ready)

    def _sample_request(self) -> None:
        valid, payload = self.requests.get("valid"), self.requests.get("payload")
        if self.stable:
            self.stable.check(valid, self.ready, (payload,))
        if not (valid and self.ready):
            return
        request = REQUEST.from_bits(payload)
        address, beats = request.addr, request.len + 1
        assert address % self.beat_bytes == 0, f"burst at {address:#x} is not aligned to a beat"
        end = address % PAGE_BYTES + beats * self.beat_bytes
        assert end <= PAGE_BYTES, f"burst of {beats} beats at {address:#x} crosses 4 KiB"
        self.queue.append(Burst(address, beats, self.now + self.latency, beats))
        self.asked.append((address, beats))
        self.asked_at.append(self.now)


class ReadMemory(_Memory):
    """Answers a `ReadClient`; beats that are not taken stay."""

    offered = False

    def idle(self) -> None:
        self.requests.set("ready", 0)
        for member in ("valid", "data", "last"):
            self.beats.set(member, 0)

    def drive(self) -> None:
        self._drive_request()
        if not self.offered:
            due = bool(self.queue) and self.queue[0].due <= self.now
            self.offered = due and self._go()
        self.beats.set("valid", self.offered)
        if self.offered:
            burst = self.queue[0]
            at = self.place(burst.address)
            data = self.memory[at : at + self.beat_bytes]
            self.beats.set("data", int.from_bytes(data, "little"))
            self.beats.set("last", burst.beats == 1)
        else:
            self.beats.noise("data")
            self.beats.noise("last")

    def sample(self) -> None:
        taken = self.beats.get("ready")
        self.state = state_of(self.offered, taken)
        if self.offered and taken:
            burst, self.offered = self.queue[0], False
            burst.address += self.beat_bytes
            burst.beats -= 1
            if not burst.beats:
                self.queue.popleft()
        self._sample_request()
        self.now += 1


class WriteMemory(_Memory):
    """Takes the bursts of a `WriteClient`, acknowledges them after `latency` cycles, in order."""

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.data: deque[tuple[int, int, int]] = deque()  # (data, strobes, last)
        self.responses: deque[int] = deque()  # cycles from which they come
        self.beat_stable = Stable("beats")
        self.first_at: list[int] = []  # cycles in which first beats of bursts were taken
        self.between = True  # the next beat is a first one
        self.answered = 0

    @property
    def unanswered(self) -> int:
        """Bursts of which an address or a beat was taken, and no response given."""
        return max(len(self.asked_at), len(self.first_at)) - self.answered

    @property
    def pending(self) -> bool:
        """A burst is not written or not acknowledged."""
        return bool(self.queue or self.data or self.responses)

    def idle(self) -> None:
        self.requests.set("ready", 0)
        self.beats.set("ready", 0)
        self.beats.set("response", 0)

    def drive(self) -> None:
        self._drive_request()
        self.beat_ready = self._go()
        self.beats.set("ready", self.beat_ready)
        respond = bool(self.responses) and self.responses[0] <= self.now and self._go()
        if respond:
            self.responses.popleft()
            self.answered += 1
        self.beats.set("response", respond)

    def sample(self) -> None:
        self._sample_request()
        valid = self.beats.get("valid")
        beat = tuple(self.beats.get(member) for member in ("data", "strb", "last"))
        self.beat_stable.check(valid, self.beat_ready, beat)
        self.state = state_of(valid, self.beat_ready)
        if valid and self.beat_ready:
            self.data.append(beat)
            if self.between:
                self.first_at.append(self.now)
            self.between = bool(beat[-1])
        while self.queue and self.data:
            self._write(*self.data.popleft())
        self.now += 1

    def _write(self, data: int, strobes: int, last: int) -> None:
        burst = self.queue[0]
        for index, byte in enumerate(data.to_bytes(self.beat_bytes, "little")):
            if strobes >> index & 1:
                self.memory[self.place(burst.address) + index] = byte
        burst.address += self.beat_bytes
        burst.beats -= 1
        assert last == (burst.beats == 0), "the last beat of a burst, and no other, is marked"
        if last:
            self.queue.popleft()
            self.responses.append(self.now + self.latency)
