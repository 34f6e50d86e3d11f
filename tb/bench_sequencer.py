"""Bench of the sequencer: random programs, legal and illegal, between a memory and queues that
take items at random; against the scalar machine, the rules of legality and program order.

Parameters: `config` (of `ChipConfig.to_dict`), `cases` (files: `code`, `memory`), `stall`.
"""

import random

import cocotb
import numpy as np

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.program import Op, Reg, encode_program
from isa.table import INSTRUCTION_BYTES, INSTRUCTIONS, SIGNALS, WAITS
from isa.traps import IMPRECISE, Cause, Fault
from rtl.axi import ADDRESS_BITS
from rtl.fetch import BURST
from rtl.sequencer import ENGINES
from tb.agents import STATES, Ports, Pulse, Sink, cycle, reset
from tb.coverage import Coverage
from tb.memory_agents import ReadMemory, WriteMemory
from tb.runner import bench_parameters
from tb.sequencer_reference import Expected, expect

_LIMIT = 60_000  # cycles of a program
_INPUTS = (
    "start",
    "code_base",
    "code_count",
    "memory_atoms",
    "watchdog",
    "bus_error",
    "sram_error",
)
_IMPRECISE = tuple(cause.name for cause in IMPRECISE)
_ERRORS = ("bus_error", "sram_error")


class Control:
    """The single inputs: engines that are idle at random, semaphores that answer at random."""

    def __init__(self, dut, stall: float) -> None:
        self.dut, self.stall = dut, stall
        self.port, self.operations = Ports(dut, "semaphores"), 0
        self.classes = [f"waiting_{name}" for name in ("operand", "semaphore", "memory")]

    def idle(self) -> None:
        for name in (*_INPUTS, "engines_idle", "engines_quiet"):
            getattr(self.dut, name).value = 0
        self.port.set("ready", 0)

    def drive(self) -> None:
        self.dut.engines_idle.value = self.dut.engines_quiet.value = int(random.random() < 0.6)
        self.ready = random.random() >= self.stall
        self.port.set("ready", self.ready)

    def sample(self) -> None:
        self.operations += self.ready and self.port.get("valid")
        waits = sum(int(getattr(self.dut, name).value) for name in self.classes)
        assert waits <= 1, "a cycle belongs to one class"


class Surroundings:
    """Memory, queues and everything else around the sequencer."""

    def __init__(self, dut, config: ChipConfig, memory: bytearray, stall: float) -> None:
        self.dut, self.memory, self.atom = dut, memory, random.getrandbits(32)
        self.control, self.retired = Control(dut, stall), Pulse(dut, "retired")
        self.queues = {e: Sink(dut, f"{name}", stall) for e, name in ENGINES.items()}
        clients = (("fetch", ReadMemory, 9), ("read", ReadMemory, 4), ("write", WriteMemory, 6))
        self.clients = [
            kind(dut, name, memory, config.axi_bytes, latency, stall)
            for name, kind, latency in clients
        ]
        self.clients[0].stable = None  # a jump withdraws what the fetch asks for
        self.agents = [self.control, self.retired, *self.queues.values(), *self.clients]

    async def run(self, cover: Coverage, count: int, disturb: tuple[int, str] = (0, "")) -> None:
        """From `start` to the end; `disturb`: a cycle and the input that pulses in it. More errors
        of memories follow it."""
        dut = self.dut
        dut.code_count.value, dut.memory_atoms.value = count, len(self.memory) // HBM_ATOM_BYTES
        dut.start.value = 1
        await cycle(dut, self.agents)
        dut.start.value = 0
        for now in range(_LIMIT):
            pulse = disturb[1] if now == disturb[0] else ""
            dut.error_atom.value = self.atom if pulse else random.getrandbits(32)
            if disturb[1] and now > disturb[0] and random.random() < 0.2:
                pulse = random.choice(_ERRORS)
            if pulse:
                getattr(dut, pulse).value = 1
            await cycle(dut, self.agents)
            if pulse:
                getattr(dut, pulse).value = 0
            for engine, queue in self.queues.items():
                cover.hit("queue", ENGINES[engine], queue.state)
            if int(dut.halted.value) or int(dut.trapped.value):
                assert not int(dut.running.value)
                return
        done = f"{self.retired.count} instructions, {len(self.clients[0].asked)} bursts of code"
        raise AssertionError(f"no end after {_LIMIT} cycles: {done}")

    def end(self) -> tuple[Fault, int] | None:
        """None after `halt`, else the trap."""
        if int(self.dut.halted.value):
            return None
        cause, where = int(self.dut.trap_cause.value), int(self.dut.trap_where.value)
        return Fault(Cause(cause), where), int(self.dut.trap_pc.value)

    def compare(self, wanted: Expected) -> None:
        """All items, in order for each engine; scalar counts only of programs that halt."""
        for engine, queue in self.queues.items():
            items = [payload for kind, _, payload in wanted.items if kind == engine]
            assert list(queue.received) == items, f"{engine.name}: other items"
        if wanted.end is None:
            assert self.retired.count == wanted.executed
            assert self.control.operations == wanted.operations


def jump_to(target: int) -> Op:
    """Always: registers are 0 at the start."""
    return Op("beq", {"rs": Reg(0), "x": 0, "y": target})


class Far:
    """A program of ``count`` instructions, at ``base``: the first jumps to the last, the second is
    `halt`. Nothing behind it may be read, and before it nothing but the rest of its
    first burst."""

    def __init__(self, base: int, count: int, last: Op) -> None:
        ops = {0: jump_to(count - 1), 1: Op("halt"), count - 1: last}
        self.base, self.count = base, count
        self.words = {number: encode_program([op]) for number, op in ops.items()}

    def __len__(self) -> int:
        return 1 << ADDRESS_BITS

    def __getitem__(self, part: slice) -> bytes:
        first, end = part.start - self.base, part.stop - self.base
        before = self.base % (BURST * INSTRUCTION_BYTES)
        assert -before <= first < end <= self.count * INSTRUCTION_BYTES, "outside the program"
        number, offset = divmod(first, INSTRUCTION_BYTES)
        size = -(-end // INSTRUCTION_BYTES) - number
        words = [self.words.get(number + i, bytes(INSTRUCTION_BYTES)) for i in range(size)]
        return b"".join(words)[offset : offset + end - first]


def _cover() -> Coverage:
    cover = Coverage("sequencer")
    cover.point("queue", {"engine": ENGINES.values(), "is": STATES})
    ends = ("halt", *(cause.name for cause in Cause if cause))
    many = "takes 65,535 signals; random programs on the core have it"
    cover.point("end", {"by": ends}, {("SEMAPHORE_OVERFLOW",): many})
    sizes = {"waits": range(WAITS + 1), "signals": range(SIGNALS + 1)}
    cover.point("pattern", {"who": ("sequencer", "engine"), **sizes})
    cover.point(
        "instruction", {"engine's": [i.mnemonic for i in INSTRUCTIONS if i.engine in ENGINES]}
    )
    return cover


@cocotb.test()
async def programs_end_as_they_must(dut) -> None:
    """Each program: all commands, all words stored, and halt or the first fault of the program."""
    sizes, cover = bench_parameters(), _cover()
    config = ChipConfig.from_dict(sizes["config"], "bench")
    for path in sizes["cases"]:
        case = np.load(path)
        code, memory = case["code"].tobytes(), bytearray(case["memory"].tobytes())
        reference = np.frombuffer(bytes(memory), np.uint8).copy()
        wanted = expect(config, code, reference)
        world = Surroundings(dut, config, memory, sizes["stall"])
        await reset(dut, world.agents)
        await world.run(cover, len(code) // INSTRUCTION_BYTES)
        assert world.end() == wanted.end, f"{path}: {world.end()}, not {wanted.end}"
        assert bytes(memory) == reference.tobytes(), f"{path}: other words are stored"
        world.compare(wanted)
        cover.hit("end", wanted.end[0].cause.name if wanted.end else "halt")
        for pattern in wanted.patterns:
            cover.hit("pattern", *pattern)
        for _, mnemonic, _ in wanted.items:
            cover.hit("instruction", mnemonic)
    cover.save()


@cocotb.test()
async def watchdog_and_errors_of_memories_trap(dut) -> None:
    """At any time; what was issued until then is what the program issues first."""
    sizes, cover = bench_parameters(), _cover()
    config = ChipConfig.from_dict(sizes["config"], "bench")
    case = np.load(sizes["cases"][0])
    code = case["code"].tobytes()
    wanted = expect(config, code, case["memory"].copy())
    for turn in range(9):
        world = Surroundings(dut, config, bytearray(case["memory"].tobytes()), sizes["stall"])
        await reset(dut, world.agents)
        name = _IMPRECISE[turn % len(_IMPRECISE)]
        disturb = random.randint(20, 150), name.lower()
        await world.run(cover, len(code) // INSTRUCTION_BYTES, disturb)
        (fault, pc) = world.end()
        assert fault == Fault(Cause[name])
        assert name == "WATCHDOG" or int(dut.trap_atom.value) == world.atom
        assert pc <= len(code) // INSTRUCTION_BYTES, "an instruction of the program, or its end"
        cover.hit("end", name)
        for engine, queue in world.queues.items():
            items = [payload for kind, _, payload in wanted.items if kind == engine]
            assert list(queue.received) == items[: len(queue.received)]
    cover.save()


@cocotb.test()
async def programs_of_any_length_end_where_they_must(dut) -> None:
    """A program anywhere in the memory, its last instruction reached by a jump: `halt`, a jump
    back, or another one and then the end of the program."""
    sizes = bench_parameters()
    config = ChipConfig.from_dict(sizes["config"], "bench")
    for bits in range(2, 32):
        count = random.getrandbits(bits) | 1 << bits
        room = (1 << ADDRESS_BITS) - count * INSTRUCTION_BYTES
        base = random.getrandbits(ADDRESS_BITS) % room // HBM_ATOM_BYTES
        last = random.choice([Op("halt"), Op("mnop"), jump_to(1)])
        program = Far(base * HBM_ATOM_BYTES, count, last)
        world = Surroundings(dut, config, bytearray(HBM_ATOM_BYTES), sizes["stall"])
        await reset(dut, world.agents)
        world.clients[0].memory = program
        dut.code_base.value = base
        await world.run(_cover(), count)
        end = (Fault(Cause.END_OF_PROGRAM, 0), count) if last.mnemonic == "mnop" else None
        assert world.end() == end, f"{world.end()}, not {end}"
