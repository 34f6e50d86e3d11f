"""The other side of a unit's ports in cocotb benches: streams, SRAM ports, memory clients.

An agent has `drive()`, which sets the unit's inputs after a falling edge, and `sample()`, which
looks at the handshake of the coming rising edge once outputs have settled. `cycle` runs all agents
for one clock cycle. Every agent refuses or pauses with a probability of its own, and checks the
rule of its port: what is offered stays, unchanged, until it is taken.
"""

import random
from collections import deque
from collections.abc import Callable, Sequence

import cocotb
from cocotb.clock import Clock
from cocotb.task import Task
from cocotb.triggers import FallingEdge, Timer

from tb.runner import bench_inputs

_NOISE_CYCLES = 300
_clock: Task | None = None


async def reset(dut, agents: Sequence = (), noise: int = _NOISE_CYCLES) -> None:
    """Clock, noise at all inputs, which the reset must undo; idle inputs, two cycles of reset."""
    await shake(dut, noise)
    for agent in agents:
        agent.idle()
    dut.rst.value = 1
    await FallingEdge(dut.clk)
    await FallingEdge(dut.clk)
    dut.rst.value = 0


async def shake(dut, cycles: int = _NOISE_CYCLES) -> None:
    """Start the clock, if it is not on; random values at all inputs but the reset, then 0."""
    global _clock  # tests of a module follow each other, and their tasks end with them
    if _clock is None or _clock.done():
        _clock = cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
    inputs = [getattr(dut, name) for name in bench_inputs()]
    dut.rst.value = 0
    for _ in range(cycles):
        for port in inputs:
            port.value = random.getrandbits(len(port))
        await FallingEdge(dut.clk)
    for port in inputs:
        port.value = 0


async def cycle(dut, agents: Sequence) -> None:
    """One clock cycle, from falling edge to falling edge."""
    for agent in agents:
        agent.drive()
    await Timer(1, "ns")  # lets outputs that depend on inputs settle
    for agent in agents:
        agent.sample()
    await FallingEdge(dut.clk)


STATES = ("none", "taken", "refused")  # of an offer in a cycle


def state_of(valid: int, ready: int) -> str:
    """Which of `STATES` a handshake is in."""
    return STATES[0] if not valid else STATES[1] if ready else STATES[2]


class Ports:
    """The signals of `dut` whose names begin with `name` and an underscore."""

    def __init__(self, dut, name: str) -> None:
        self._dut, self.name = dut, name

    def get(self, member: str) -> int:
        return int(getattr(self._dut, f"{self.name}_{member}").value)

    def set(self, member: str, value: int) -> None:
        getattr(self._dut, f"{self.name}_{member}").value = int(value)

    def width(self, member: str) -> int:
        return len(getattr(self._dut, f"{self.name}_{member}"))

    def noise(self, member: str) -> None:
        """Random bits: what nobody may look at."""
        self.set(member, random.getrandbits(self.width(member)))


class Stable:
    """Checks that an offer not taken is offered again, unchanged, in the next cycle."""

    def __init__(self, name: str) -> None:
        self.name, self._due = name, None

    def check(self, valid: int, ready: int, offer: tuple) -> None:
        if self._due is not None:
            assert valid, f"{self.name}: an offer was withdrawn"
            assert offer == self._due, f"{self.name}: {self._due} became {offer}"
        self._due = offer if valid and not ready else None


class Source:
    """Sends `queue` into the stream `name`; `taken` counts, `on_take` is called with each."""

    def __init__(self, dut, name: str, pause: float = 0.0) -> None:
        self.ports, self.pause = Ports(dut, name), pause
        self.queue: deque[int] = deque()
        self.on_take: Callable[[int], None] = lambda payload: None
        self.taken = 0
        self.offered = False
        self.state = "none"  # of this cycle

    def idle(self) -> None:
        self.ports.set("valid", 0)
        self.ports.set("payload", 0)

    def drive(self) -> None:
        if not self.offered:
            self.offered = bool(self.queue) and random.random() >= self.pause
        self.ports.set("valid", self.offered)
        if self.offered:
            self.ports.set("payload", self.queue[0])
        else:
            self.ports.noise("payload")

    def sample(self) -> None:
        self.state = state_of(self.offered, self.ports.get("ready"))
        if self.state == "taken":
            self.offered, self.taken = False, self.taken + 1
            self.on_take(self.queue.popleft())


class Sink:
    """Takes the stream `name` into `received`."""

    def __init__(self, dut, name: str, refusal: float = 0.0) -> None:
        self.ports, self.refusal = Ports(dut, name), refusal
        self.stable = Stable(name)
        self.received: deque[int] = deque()
        self.state = "none"  # of this cycle

    def idle(self) -> None:
        self.ports.set("ready", 0)

    def drive(self) -> None:
        self.ready = random.random() >= self.refusal
        self.ports.set("ready", self.ready)

    def sample(self) -> None:
        valid, payload = self.ports.get("valid"), self.ports.get("payload")
        self.stable.check(valid, self.ready, (payload,))
        self.state = state_of(valid, self.ready)
        if valid and self.ready:
            self.received.append(payload)


class Pulse:
    """Watches a one-bit output: `seen` in this cycle, `count` in all."""

    def __init__(self, dut, name: str) -> None:
        self._signal = getattr(dut, name)
        self.seen, self.count = False, 0

    def idle(self) -> None:
        """Nothing is driven."""

    def drive(self) -> None:
        """Nothing is driven."""

    def sample(self) -> None:
        self.seen = bool(self._signal.value)
        self.count += self.seen


class SramWrites:
    """The SRAM behind a `WritePort`: writes lines of `line_bytes` into `memory`."""

    def __init__(self, dut, name: str, memory: bytearray, line_bytes: int, refusal: float) -> None:
        self.ports, self.refusal = Ports(dut, name), refusal
        self.memory, self.line_bytes = memory, line_bytes
        self.stable = Stable(name)
        self.lines: list[int] = []  # in the order in which they were written
        self.state = "none"  # of this cycle: "none", "taken" or "refused"

    def idle(self) -> None:
        self.ports.set("ready", 0)

    def drive(self) -> None:
        self.ready = random.random() >= self.refusal
        self.ports.set("ready", self.ready)

    def sample(self) -> None:
        valid = self.ports.get("valid")
        offer = tuple(self.ports.get(member) for member in ("addr", "data", "mask"))
        self.stable.check(valid, self.ready, offer)
        self.state = state_of(valid, self.ready)
        if valid and self.ready:
            self._write(*offer)

    def _write(self, line: int, data: int, mask: int) -> None:
        granule = self.line_bytes // self.ports.width("mask")
        raw = data.to_bytes(self.line_bytes, "little")
        for index in range(self.ports.width("mask")):
            if mask >> index & 1:
                start = line * self.line_bytes + index * granule
                self.memory[start : start + granule] = raw[index * granule :][:granule]
        self.lines.append(line)


class SramReads:
    """The SRAM behind a `ReadPort`: the data are there for one cycle, noise otherwise."""

    def __init__(self, dut, name: str, memory: bytearray, line_bytes: int, refusal: float) -> None:
        self.ports, self.refusal = Ports(dut, name), refusal
        self.memory, self.line_bytes = memory, line_bytes
        self.stable = Stable(name)
        self.due: int | None = None  # the line whose data belong into this cycle
        self.lines: list[int] = []  # in the order in which they were read
        self.state = "none"  # of this cycle

    def idle(self) -> None:
        self.ports.set("ready", 0)
        self.ports.set("data", 0)

    def drive(self) -> None:
        self.ready = random.random() >= self.refusal
        self.ports.set("ready", self.ready)
        if self.due is None:
            self.ports.noise("data")
        else:
            data = self.memory[self.due * self.line_bytes :][: self.line_bytes]
            self.ports.set("data", int.from_bytes(data, "little"))

    def sample(self) -> None:
        valid, line = self.ports.get("valid"), self.ports.get("addr")
        self.stable.check(valid, self.ready, (line,))
        self.state = state_of(valid, self.ready)
        self.due = line if valid and self.ready else None
        if self.due is not None:
            self.lines.append(line)
