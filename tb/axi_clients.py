"""Random clients of the memory port's multiplexers, as the engines are, for cocotb benches."""

import random
from collections import deque

from isa.config import ChipConfig
from rtl.axi import ADDRESS_BITS, REQUEST
from tb.agents import Ports, Source, state_of
from tb.memory_agents import PAGE_BYTES

PERIOD = 1 << 14  # bytes of memory, which come again and again


def random_bursts(config: ChipConfig, count: int, start: int, size: int) -> list[tuple[int, int]]:
    """(address, beats) inside `size` bytes from `start`, none across 4 KiB; anywhere in the address
    space, of which these bytes are the last places."""
    bursts = []
    for _ in range(count):
        beats = random.choice([1, 1, 2, random.randint(3, config.burst_beats)])
        page = start + PAGE_BYTES * random.randrange(size // PAGE_BYTES)
        place = random.randint(0, PAGE_BYTES // config.axi_bytes - beats)
        above = PERIOD * random.getrandbits(ADDRESS_BITS - PERIOD.bit_length() + 1)
        bursts.append((above + page + config.axi_bytes * place, beats))
    return bursts


def _payload(burst: tuple[int, int]) -> int:
    return REQUEST.const({"addr": burst[0], "len": burst[1] - 1}).as_value().value


class Reader:
    """A read client: asks for `bursts`, compares every beat with `memory`."""

    def __init__(self, dut, name: str, bursts: list, memory: bytes, beat: int, stall: float):
        self.source, self.beats = Source(dut, f"{name}_request", stall), Ports(dut, name)
        self.source.queue.extend(map(_payload, bursts))
        self.addresses = [address for address, _ in bursts]
        self.source.on_take = self._expect
        self.memory, self.beat_bytes, self.stall = memory, beat, stall
        self.due: deque[tuple[int, int]] = deque()  # (data, last) of beats to come
        self.state = "none"

    def _expect(self, payload: int) -> None:
        request = REQUEST.from_bits(payload)
        for index in range(request.len + 1):
            at = request.addr % PERIOD + index * self.beat_bytes
            raw = self.memory[at : at + self.beat_bytes]
            self.due.append((int.from_bytes(raw, "little"), int(index == request.len)))

    def idle(self) -> None:
        self.source.idle()
        self.beats.set("ready", 0)

    def drive(self) -> None:
        self.source.drive()
        self.ready = random.random() >= self.stall
        self.beats.set("ready", self.ready)

    def sample(self) -> None:
        self.source.sample()
        valid = self.beats.get("valid")
        self.state = state_of(valid, self.ready)
        if valid and self.ready:
            beat = self.beats.get("data"), self.beats.get("last")
            assert self.due, f"{self.beats.name}: a beat that was not asked for"
            assert beat == self.due.popleft(), f"{self.beats.name}: a wrong beat"


class Writer:
    """A write client as the engines are: a burst's request and its beats are offered side by side,
    the next burst after both are taken. Writes the same into `expected`.
    """

    def __init__(self, dut, name: str, bursts: list, expected: bytearray, beat: int, stall: float):
        self.source, self.beats = Source(dut, f"{name}_request", stall), Ports(dut, name)
        self.bursts, self.expected, self.beat_bytes = deque(bursts), expected, beat
        self.addresses = [address for address, _ in bursts]
        self.stall, self.sent, self.responses = stall, 0, 0
        self.left: deque[tuple[int, int, int]] = deque()  # (data, strobes, last)
        self.offered = False
        self.state = "none"

    @property
    def pending(self) -> bool:
        return bool(self.bursts or self.left or self.source.queue) or self.responses < self.sent

    def idle(self) -> None:
        self.source.idle()
        for member in ("valid", "data", "strb", "last"):
            self.beats.set(member, 0)

    def _begin(self) -> None:
        address, beats = self.bursts.popleft()
        self.source.queue.append(_payload((address, beats)))
        self.sent += 1
        for index in range(beats):
            data, strobes = random.randbytes(self.beat_bytes), random.getrandbits(self.beat_bytes)
            for place in range(self.beat_bytes):
                if strobes >> place & 1:
                    self.expected[address % PERIOD + index * self.beat_bytes + place] = data[place]
            beat = int.from_bytes(data, "little"), strobes, int(index == beats - 1)
            self.left.append(beat)

    def drive(self) -> None:
        over = not self.left and not self.source.queue
        if over and self.bursts and random.random() >= self.stall:
            self._begin()
        self.source.drive()
        requested = self.source.offered or not self.source.queue  # beats never precede the request
        if not self.offered:
            self.offered = bool(self.left) and requested and random.random() >= self.stall
        self.beats.set("valid", self.offered)
        if self.offered:
            for member, value in zip(("data", "strb", "last"), self.left[0], strict=True):
                self.beats.set(member, value)
        else:
            for member in ("data", "strb", "last"):
                self.beats.noise(member)

    def sample(self) -> None:
        self.source.sample()
        self.state = state_of(self.offered, self.beats.get("ready"))
        if self.state == "taken":
            self.left.popleft()
            self.offered = False
        self.responses += self.beats.get("response")
        assert self.responses <= self.sent, f"{self.beats.name}: a response too many"
