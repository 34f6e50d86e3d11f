"""Bench of the dispatchers and the semaphores: every pattern of waits and signals.

Parameters: `items`, `stall`, `depth` (of the queues).
"""

import random
from collections import Counter, deque

import cocotb

from isa.table import SEMAPHORES, SIGNALS, WAIT_COUNT_BITS, WAITS, Engine
from rtl.timing import COMMANDS_AT_WORK
from tb.agents import STATES, Ports, Pulse, Sink, Source, cycle, reset
from tb.coverage import Coverage
from tb.dispatch_stimulus import Item, Items
from tb.dispatch_system import ENGINES
from tb.runner import bench_parameters

_LIMIT = 100_000  # cycles


class Line:
    """One engine's dispatcher: feeds items, plays the engine, keeps what is queued and started."""

    def __init__(self, dut, engine: Engine, items: deque[Item], stall: float) -> None:
        self.name = engine.name.lower()
        overlaps = engine in (Engine.LOAD, Engine.MATRIX)
        self.most = COMMANDS_AT_WORK if overlaps else 1  # that the engine takes at once
        self.items, self.stall = items, stall
        self.source = Source(dut, f"{self.name}_i", stall)
        self.source.queue.extend(item.payload for item in items)
        self.commands = Sink(dut, f"{self.name}_command", stall)
        self.ports, self.retired = Ports(dut, self.name), Pulse(dut, f"{self.name}_retired")
        self.running: deque[int] = deque()  # cycles until each is done, the first's counted down
        self.queued = 0
        self.started: deque[Item] = deque()  # what has not retired
        self.finished = 0  # of these

    def idle(self) -> None:
        self.source.idle()
        self.commands.idle()
        self.ports.set("done", 0)

    def drive(self) -> None:
        self.source.drive()
        self.commands.refusal = 1.0 if len(self.running) == self.most else self.stall
        self.commands.drive()
        self.ports.set("done", bool(self.running) and self.running[0] == 1)

    def sample(self) -> None:
        """Order: what is seen in this cycle concerns the first item as it was before it."""
        self.source.sample()
        self.commands.sample()
        self.retired.sample()
        assert self.ports.get("idle") == (self.queued == 0)
        assert self.ports.get("working") == bool(self.running)

    def next_command(self) -> int:
        """The place in the queue of the first command that has not been started."""
        behind = self.items.index(self.started[-1]) + 1 if self.started else 0
        return next(i for i in range(behind, len(self.items)) if not self.items[i].is_nop)


class Tokens:
    """No wait is granted before enough signals could have been raised."""

    def __init__(self) -> None:
        self.raised: Counter[int] = Counter()
        self.lowered: Counter[int] = Counter()

    def acquire(self, item: Item, possible: Counter[int]) -> None:
        for semaphore, count in item.waits:
            self.lowered[semaphore] += count
            most = self.raised[semaphore] + possible[semaphore]
            assert self.lowered[semaphore] <= most, f"semaphore {semaphore}: too few tokens"


@cocotb.test()
async def items_wait_and_signal(dut) -> None:
    """Commands reach their engines in order, once, with all tokens; in the end the counters hold
    exactly what nobody waited for."""
    sizes = bench_parameters()
    cover = Coverage("dispatch")
    names = [engine.name.lower() for engine in ENGINES]
    counts = {"waits": range(WAITS + 1), "signals": range(SIGNALS + 1)}
    cover.point("pattern", {"engine": names, **counts, "kind": ("nop", "command")})
    cover.point("wait", {"count": range(1, 1 << WAIT_COUNT_BITS), "semaphore": ("other", "again")})
    cover.point("queue", {"engine": names, "is": ("empty", "part", "full"), "offer": STATES},
                _impossible())  # fmt: skip
    cover.point("waiting", {"engines at once": range(len(ENGINES) + 1)})
    cover.point("at work", {"commands": range(COMMANDS_AT_WORK + 1)})
    items = Items(sizes["items"])
    lines = [Line(dut, engine, items.queues[engine], sizes["stall"]) for engine in ENGINES]
    await reset(dut, lines)
    dut.enable.value = 1
    tokens = Tokens()
    after = 4  # cycles, in which all queues are empty
    for _ in range(_LIMIT):
        await cycle(dut, lines)
        cover.hit("waiting", sum(line.ports.get("waiting") for line in lines))
        for line in lines:
            is_ = "empty" if not line.queued else "part" if line.queued < sizes["depth"] else "full"
            cover.hit("queue", line.name, is_, line.source.state)
            cover.hit("at work", len(line.running))
        for line in lines:
            _start(line, lines, tokens)
        for line in lines:
            _retire(line, tokens, cover)
        after -= not any(line.items for line in lines)
        if not after:
            break
    assert not any(line.items for line in lines), f"items are left after {_LIMIT} cycles"
    await _drain(dut, items.left)
    cover.save()


def _impossible() -> dict[tuple, str]:
    return {
        ("*", "empty", "refused"): "an empty queue takes what is offered",
        ("*", "part", "refused"): "a queue with room takes what is offered",
        ("*", "full", "taken"): "a full queue takes nothing",
    }


def _start(line: Line, lines: list[Line], tokens: Tokens) -> None:
    """A command that the engine took in this cycle is the next one's, whose waits are met."""
    if line.running:
        line.running[0] -= 1
        if not line.running[0]:
            line.running.popleft()
            line.finished += 1
    if not line.commands.received:
        return
    place = line.next_command()
    item = line.items[place]
    assert place < line.queued, f"{line.name}: a command that was not queued"
    assert place < COMMANDS_AT_WORK, f"{line.name}: a command was started too early"
    assert line.commands.received.popleft() == item.command
    line.started.append(item)
    line.running.append(random.choice([1, 1, 2, random.randint(3, 12)]))
    possible: Counter[int] = Counter()
    for other in lines:  # signals of items that are over but not retired
        head = other.items[0] if other.items else None
        if head and other.queued and (other.finished or head.is_nop):
            possible.update(head.signals)
    tokens.acquire(item, possible)


def _retire(line: Line, tokens: Tokens, cover: Coverage) -> None:
    if line.retired.seen:
        item = line.items.popleft()
        assert line.queued, f"{line.name}: retired what was not queued"
        assert item.is_nop or line.finished, f"{line.name}: retired too early"
        if item.is_nop:
            tokens.acquire(item, Counter())
        tokens.raised.update(item.signals)
        line.queued -= 1
        if not item.is_nop:
            assert line.started.popleft() is item
            line.finished -= 1
        kind = "nop" if item.is_nop else "command"
        cover.hit("pattern", line.name, len(item.waits), len(item.signals), kind)
        seen = [semaphore for semaphore, _ in item.waits]
        for semaphore, count in item.waits:
            cover.hit("wait", count, "again" if seen.count(semaphore) > 1 else "other")
    line.queued += line.source.state == "taken"


async def _drain(dut, left: Counter[int]) -> None:
    """Lower every counter by what must be in it, then find that there is nothing left."""
    port = Ports(dut, "port")
    port.set("raises", 0)
    for semaphore in range(SEMAPHORES):
        port.set("semaphore", semaphore)
        for _ in range(left[semaphore]):
            assert await _lowers(dut, port), f"semaphore {semaphore}: a token is missing"
        assert not await _lowers(dut, port), f"semaphore {semaphore}: a token too many"


async def _lowers(dut, port: Ports) -> bool:
    port.set("count", 1)
    port.set("valid", 1)
    done: list[int] = []

    class _Look:
        def drive(self) -> None:
            """Nothing is driven."""

        def sample(self) -> None:
            done.append(port.get("ready"))

    await cycle(dut, [_Look()])
    port.set("valid", 0)
    return bool(done[0])
