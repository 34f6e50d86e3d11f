"""Random queue items with every pattern of waits and signals, free of deadlocks."""

import itertools
import random
from collections import Counter, deque
from dataclasses import dataclass

from isa.table import INSTRUCTIONS, SEMAPHORES, SIGNALS, WAIT_COUNT_BITS, WAITS, Engine
from rtl.decode import FORMATS
from rtl.dispatch import NOPS, item_layout
from tb.dispatch_system import ENGINES

_COUNTS = range(1, 1 << WAIT_COUNT_BITS)


@dataclass
class Item:
    """A queue item: `waits` (semaphore, count), `signals`, and its payload."""

    opcode: int
    waits: list[tuple[int, int]]
    signals: list[int]
    payload: int
    command: int  # the part that the engine gets

    @property
    def is_nop(self) -> bool:
        return self.opcode in NOPS


class Items:
    """`queues`: engine → its items; `left`: tokens of each semaphore when all are retired.

    Every wait asks for tokens that earlier items signal, and each semaphore has one engine that
    waits for it: so the first item that is not retired can always go on. Every second item only
    signals, or there would be nothing to wait for.
    """

    def __init__(self, count: int) -> None:
        self.left: Counter[int] = Counter()
        self.queues: dict[Engine, deque[Item]] = {engine: deque() for engine in ENGINES}
        patterns: deque[tuple[int, int, int]] = deque()
        while count > 0:
            if not patterns:
                patterns.extend(itertools.product(range(WAITS + 1), range(SIGNALS + 1), (0, 1)))
                random.shuffle(patterns)
            waits, signals, nop = patterns.popleft()
            for engine in ENGINES:
                self.queues[engine].append(self._item(engine, 0, SIGNALS, random.random() < 0.5))
                self.queues[engine].append(self._item(engine, waits, signals, bool(nop)))
                count -= 2

    def _item(self, engine: Engine, waits: int, signals: int, nop: bool) -> Item:
        taken = [self._wait(engine) for _ in range(waits)]
        raised = [self._poorest() for _ in range(signals)]
        if signals > 1 and random.random() < 0.3:
            raised[1] = raised[0]
        self.left.update(raised)
        opcodes = [i.opcode for i in INSTRUCTIONS if i.engine == engine]
        opcode = random.choice([code for code in opcodes if (code in NOPS) == nop])
        return _item(engine, opcode, [w for w in taken if w], raised)

    def _poorest(self) -> int:
        """A semaphore of the engine that has the fewest tokens left, so that all can wait."""
        owned = Counter(dict.fromkeys(ENGINES, 0))
        for semaphore, count in self.left.items():
            owned[ENGINES[semaphore % len(ENGINES)]] += count
        poor = min(ENGINES, key=lambda engine: (owned[engine], random.random()))
        places = range(SEMAPHORES // len(ENGINES))
        return ENGINES.index(poor) + len(ENGINES) * random.choice(places)

    def _wait(self, engine: Engine) -> tuple[int, int] | None:
        """Tokens that are left, of a semaphore that is the engine's."""
        mine = [s for s, n in self.left.items() if n and ENGINES[s % len(ENGINES)] == engine]
        if not mine:
            return None
        semaphore = random.choice(mine)
        count = min(random.choice(_COUNTS), self.left[semaphore])
        self.left[semaphore] -= count
        return semaphore, count


def _item(engine: Engine, opcode: int, waits: list, signals: list) -> Item:
    layout = item_layout(FORMATS[engine])
    command = layout["command"].shape
    fields = random.getrandbits(command.size) >> 8 << 8 | opcode
    no_wait = {"semaphore": 0, "count": 0}
    guards = {
        "waits": [{"semaphore": s, "count": n} for s, n in waits]
        + [no_wait] * (WAITS - len(waits)),
        "signals": [{"semaphore": s, "valid": 1} for s in signals]
        + [{"semaphore": 0, "valid": 0}] * (SIGNALS - len(signals)),
    }
    const = layout.const({"guards": guards, "command": command.from_bits(fields)})
    return Item(opcode, waits, signals, const.as_value().value, fields)
