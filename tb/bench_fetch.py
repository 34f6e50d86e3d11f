"""Bench of the fetch: random walks through programs, against their text.

Parameters: `config` (of `ChipConfig.to_dict`), `walks`, `stall`, `latency`.
"""

import random

import cocotb

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.table import INSTRUCTION_BYTES
from rtl.fetch import DEPTH
from tb.agents import cycle, reset
from tb.coverage import Coverage
from tb.memory_agents import ReadMemory
from tb.noise import Noise
from tb.runner import bench_parameters

_PATIENCE = 2000  # cycles in which an instruction must come
_NEAR = DEPTH // 2
# Name → least and greatest distance of a jump, in instructions.
JUMPS = {
    "far back": (-4 * DEPTH, -DEPTH - 8),
    "loop": (-_NEAR + 8, -9),
    "short loop": (-8, -1),
    "itself": (0, 0),
    "skip": (1, 8),
    "ahead": (9, _NEAR - 8),
    "far ahead": (DEPTH + 8, 4 * DEPTH),
    "anywhere": (0, 0),  # in the whole program
}
COUNTS = (1, 7, 8, 9, 300, 701, 1200, 1 << 20, (1 << 32) - 1)


class Walker:
    """Takes instructions, waits, goes on or jumps; checks each of them.

    `start(base, count)` begins a program of `count` instructions at atom `base`.
    """

    def __init__(self, dut, cover: Coverage, memory: ReadMemory, stall: float) -> None:
        self.dut, self.cover, self.memory, self.stall = dut, cover, memory, stall
        self.base = self.count = self.pc = self.waited = self.taken = 0
        self.starting = False

    def start(self, base: int, count: int) -> None:
        self.base, self.count, self.pc, self.waited = base, count, 0, 0
        self.starting = True

    def idle(self) -> None:
        for name in ("start", "code_base", "code_count", "enable", "advance", "jump", "target"):
            getattr(self.dut, name).value = 0

    def drive(self) -> None:
        dut = self.dut
        dut.start.value, dut.enable.value = int(self.starting), int(not self.starting)
        dut.code_base.value = self.base if self.starting else random.getrandbits(32)
        dut.code_count.value = self.count if self.starting else random.getrandbits(32)
        dut.advance.value = dut.jump.value = 0
        dut.target.value = random.getrandbits(32)
        if self.starting:
            self.starting = False
            return
        valid = bool(dut.valid.value)
        self.waited += not valid
        assert self.waited < _PATIENCE or self.pc == self.count, f"no instruction {self.pc}"
        if not valid or random.random() < self.stall:
            return
        assert int(dut.pc.value) == self.pc
        place = self.base * HBM_ATOM_BYTES + self.pc * INSTRUCTION_BYTES
        text = self.memory.memory[place : place + INSTRUCTION_BYTES]
        if self.pc < self.count:
            assert int(dut.word.value) == int.from_bytes(text, "little"), f"instruction {self.pc}"
            self._leave()

    def _leave(self) -> None:
        """Go on, or jump inside the program."""
        self.waited, self.taken = 0, self.taken + 1
        names = [name for name in JUMPS if name != "anywhere" or random.random() < 0.3]
        name = random.choice(names)
        target = self.pc + random.randint(*JUMPS[name])
        if name == "anywhere":
            target = random.randrange(self.count)
        if random.random() < 0.9 or not 0 <= target < self.count:
            self.dut.advance.value = 1
            self.pc += 1
            return
        self.cover.hit("jumps", name, "yes" if self.memory.queue else "no")
        self.dut.jump.value, self.dut.target.value = 1, target
        self.dut.advance.value = random.getrandbits(1)  # has no say in a jump
        self.pc = target

    def sample(self) -> None:
        """Everything was seen in `drive`: the outputs come from registers."""


@cocotb.test()
async def random_walks(dut) -> None:
    """Every instruction is the program's, each comes at last; nothing behind the end is read."""
    sizes = bench_parameters()
    config = ChipConfig.from_dict(sizes["config"], "bench")
    cover = Coverage("fetch")
    cover.point("jumps", {"to": JUMPS, "bursts in flight": ("no", "yes")})
    cover.point("program ends", {"in a burst": ("inside", "at its end")})
    content = Noise(random.getrandbits(32))
    memory = ReadMemory(dut, "memory", content, config.axi_bytes, sizes["latency"], sizes["stall"])
    memory.stable = None  # a jump withdraws a request; the multiplexer takes it into a register
    walker = Walker(dut, cover, memory, sizes["stall"])
    agents = (walker, memory)
    await reset(dut, agents)
    for _ in range(sizes["walks"]):
        base, count = (
            random.getrandbits(random.choice([7, 31])) & random.choice([-1, -4]),
            random.choice(COUNTS),
        )
        walker.start(base, count)
        memory.asked.clear()
        first = walker.taken
        end = base * HBM_ATOM_BYTES + count * INSTRUCTION_BYTES
        cover.hit("program ends", "inside" if end % 256 else "at its end")
        while walker.pc < count and walker.taken < first + 900:
            await cycle(dut, agents)
        for address, beats in memory.asked:
            assert address + beats * config.axi_bytes < end + config.axi_bytes, "behind the end"
    cover.save()
