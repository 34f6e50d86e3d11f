"""Sequencer: random programs against the functional simulator's scalar machine."""

import random
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest

from isa.config import load_config
from isa.program import Op, Reg, encode_program
from isa.table import Choice, Engine
from isa.traps import Cause, Fault
from rtl.sequencer import ENGINES, Sequencer
from sim.scalar import ScalarMachine
from tb.instructions import InstructionMaker
from tests.axi_model import ReadModel, WriteModel
from tests.support import simulate

DATA_ATOM = 512  # scalar loads and stores touch 4 KiB from here on
MEMORY_BYTES = 64 * 1024
LIMIT = 30_000
_ALU = ("add", "sub", "mul", "and", "or", "shl", "shr", "min", "max")


def _source(dice: random.Random, bits: int = 32):
    """An immediate, often an extreme one, or a register."""
    if dice.random() < 0.5:
        return Reg(dice.randrange(14))
    return dice.choice([0, 1, 31, 32, (1 << bits) - 1, dice.getrandbits(bits), 1 << bits - 1])


def _scalar(dice: random.Random) -> Op:
    if dice.random() < 0.75:
        fields = {"rd": Reg(dice.randrange(14)), "rs": Reg(dice.randrange(14)), "x": _source(dice)}
        return Op(dice.choice(_ALU), fields)
    place = {"x": DATA_ATOM + dice.randrange(4), "y": 4 * dice.randrange(64)}
    if dice.random() < 0.5:
        return Op("ld", {"rd": Reg(dice.randrange(14)), **place})
    return Op("st", {"rs": Reg(dice.randrange(14)), **place})


def _engine(dice: random.Random, maker: InstructionMaker) -> list[Op]:
    """A legal engine instruction, some operands by way of registers; its waits are signalled by a
    nop ahead of it."""
    op = maker.legal(dice.choice(["load", "store", "vadd", "vmask", "vabs", "vnop", "lnop"]))
    semaphore, count = dice.randrange(32), dice.randint(1, 3)
    ops, fields = [Op(dice.choice(["mnop", "snop"]), signals=(semaphore,) * 3)], dict(op.fields)
    for register, name in enumerate(fields, start=1):
        if not isinstance(fields[name], str) and dice.random() < 0.2:
            value = {"rd": Reg(register), "rs": Reg(0), "x": fields[name]}
            ops.append(Op("add", value))
            fields[name] = Reg(register)
    return [*ops, Op(op.mnemonic, fields, waits=((semaphore, count),), signals=(31, 7))]


def _body(dice: random.Random, maker: InstructionMaker, length: int) -> list[Op]:
    ops: list[Op] = []
    while len(ops) < length:
        ops += [_scalar(dice)] if dice.random() < 0.8 else _engine(dice, maker)
    return ops


def random_program(config, seed: int) -> list[Op]:
    """Straight pieces, loops short and longer than the fetch buffer, forward branches."""
    dice, maker = random.Random(seed), InstructionMaker(config, MEMORY_BYTES // 64, seed)
    ops = _body(dice, maker, 20)
    for length in (3, 150, 11):
        ops.append(Op("add", {"rd": Reg(14), "rs": Reg(0), "x": 0}))
        top = len(ops)
        ops += _body(dice, maker, length)
        ops.append(Op("add", {"rd": Reg(14), "rs": Reg(14), "x": 1}))
        ops.append(Op("blt", {"rs": Reg(14), "x": dice.randint(2, 6), "y": top}))
        for mnemonic in ("beq", "blt"):
            skipped = _body(dice, maker, dice.randrange(1, 90))
            fields = {"rs": Reg(dice.randrange(14)), "x": _source(dice)}
            ops.append(Op(mnemonic, fields | {"y": len(ops) + 1 + len(skipped)}))
            ops += skipped
    ops.append(Op("add", {"rd": Reg(1), "rs": Reg(1), "x": 5}, signals=(3, 3, 4)))
    return [*ops, Op("sync", waits=((3, 2), (4, 1)), signals=(5,)), Op("halt")]


class _Bench:
    """A sequencer between a memory and queues that take commands at random."""

    def __init__(self, config, ops: list[Op], base_atom: int, stall: float, latency: int = 9):
        self.dut, self.base, self.stall = Sequencer(config), base_atom, stall
        self.memory = bytearray(random.Random(1).randbytes(MEMORY_BYTES))
        code = encode_program(ops)
        self.memory[64 * base_atom : 64 * base_atom + len(code)] = code
        beat = config.axi_bytes
        fetch = ReadModel(self.dut.fetch, self.memory, beat, latency, stall)
        read = ReadModel(self.dut.read, self.memory, beat, latency + 1, stall)
        write = WriteModel(self.dut.write, self.memory, beat, latency + 2, stall)
        self.fetch, self.models, self.count = fetch, (fetch, read, write), len(ops)
        self.fetched_to = 0  # end of the last burst that was asked for
        self.commands: list[tuple[Engine, dict]] = []
        self.classes: Counter[str] = Counter()
        self.retired = self.cycles = self.operations = 0

    async def run(self, ctx) -> None:
        """From `start` to the end; `fault` is then the trap, or None."""
        dut, dice = self.dut, random.Random(2)
        ctx.set(dut.code_base, self.base)
        ctx.set(dut.code_count, self.count)
        ctx.set(dut.memory_atoms, MEMORY_BYTES // 64)
        ctx.set(dut.start, 1)
        ctx.set(dut.engines_idle, 1)
        ctx.set(dut.engines_quiet, 1)
        while not ctx.get(dut.halted | dut.trapped):
            assert self.cycles < LIMIT
            for model in self.models:
                model.drive(ctx)
            for name in ENGINES.values():
                ctx.set(getattr(dut, name).ready, dice.random() >= self.stall)
            ctx.set(dut.semaphores.ready, dice.random() >= self.stall)
            self._observe(ctx)
            for model in self.models:
                model.sample(ctx)
            await ctx.tick()
            ctx.set(dut.start, 0)
            self.cycles += 1
        assert not ctx.get(dut.running)
        trapped = ctx.get(dut.trapped)
        cause = Cause(ctx.get(dut.trap_cause))
        self.fault = (
            (Fault(cause, ctx.get(dut.trap_where)), ctx.get(dut.trap_pc)) if trapped else None
        )

    def _observe(self, ctx) -> None:
        dut = self.dut
        self.retired += ctx.get(dut.retired)
        self.operations += ctx.get(dut.semaphores.valid & dut.semaphores.ready)
        waits = [
            n for n in ("operand", "semaphore", "memory") if ctx.get(getattr(dut, f"waiting_{n}"))
        ]
        assert len(waits) <= 1
        self.classes[waits[0] if waits else "busy"] += ctx.get(dut.running)
        request = dut.fetch.request
        if ctx.get(request.valid & request.ready):
            beats = ctx.get(request.payload.len) + 1
            end = ctx.get(request.payload.addr) + beats * self.fetch.beat_bytes
            self.fetched_to = max(self.fetched_to, end)
        for engine, name in ENGINES.items():
            queue = getattr(dut, name)
            if ctx.get(queue.valid & queue.ready):
                self.commands.append((engine, ctx.get(queue.payload)))


def _expected(command) -> SimpleNamespace:
    """Field values of a command, choices as numbers."""
    values = {}
    slots = command.op.spec.format.slots
    for (name, slot), value in zip(slots.items(), command.fields, strict=True):
        is_choice = isinstance(slot.field, Choice)
        values[name] = slot.field.values.index(value) if is_choice else value
    return SimpleNamespace(**values)


def _compare(commands, reference) -> None:
    wanted = [command for command in reference if command.engine != Engine.SEQUENCER]
    assert len(commands) == len(wanted)
    for (engine, item), command in zip(commands, wanted, strict=True):
        assert engine == command.engine
        assert item.command.opcode == command.op.spec.opcode
        for name, value in vars(_expected(command)).items():
            if name in command.op.spec.uses:
                assert getattr(item.command, name) == value, f"{command}: {name}"
        waits = [(w.semaphore, w.count) for w in item.guards.waits if w.count]
        assert tuple(waits) == command.waits
        assert tuple(s.semaphore for s in item.guards.signals if s.valid) == command.signals


@pytest.mark.parametrize("axi_bytes", [4, 32, 128])
@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_random_programs(axi_bytes, stall):
    config = load_config("tiny").replace(axi_bytes=axi_bytes, line_bytes=128, burst_beats=32)
    for seed in range(2):
        ops = random_program(config, seed)
        bench = _Bench(config, ops, base_atom=2 * seed + 1, stall=stall)
        memory = np.frombuffer(bytearray(bench.memory), np.uint8).copy()
        machine = ScalarMachine(config, encode_program(ops))
        reference = list(machine.run(memory))
        simulate(bench.dut, bench.run)
        assert bench.fault is None
        _compare(bench.commands, reference)
        assert bytes(bench.memory) == memory.tobytes()
        assert bench.retired == machine.executed
        assert bench.operations == 6  # of the last ones: those of engines are not the sequencer's
        end = 64 * bench.base + 32 * len(ops)
        assert bench.fetched_to == -(-end // axi_bytes) * axi_bytes, "reads all, and nothing behind"
        assert bench.classes.total() == bench.cycles - 1  # of `start` is not of the run
        assert min(bench.classes[name] for name in ("busy", "memory")) > 0


def test_one_instruction_per_cycle():
    """Straight code and a loop that fits the buffer, once the memory's latency has passed."""
    ops = [Op("add", {"rd": Reg(1), "rs": Reg(1), "x": 1}) for _ in range(400)]
    ops += [Op("add", {"rd": Reg(2), "rs": Reg(2), "x": 1}) for _ in range(20)]
    ops += [Op("vnop"), Op("blt", {"rs": Reg(2), "x": 400, "y": 400}), Op("halt")]
    bench = _Bench(load_config("tiny"), ops, base_atom=5, stall=0.0, latency=40)
    simulate(bench.dut, bench.run)
    instructions = 400 + 20 * 22 + 1
    assert bench.retired + len(bench.commands) == instructions
    assert bench.cycles <= instructions + 40 + 13
    assert bench.fetch.bursts <= len(ops) // 8 + 10  # the loop was not read again


@pytest.mark.parametrize("top", [96, 101])
def test_loops_of_any_length(top):
    """Also those as long as what the buffer keeps, while the fetch still runs ahead."""
    for length in range(54, 68):
        ops = [Op("add", {"rd": Reg(1), "rs": Reg(1), "x": 1})] * (top + length - 1)
        ops.append(Op("blt", {"rs": Reg(1), "x": top + 3 * (length - 1), "y": top}))
        ops += [Op("add", {"rd": Reg(1), "rs": Reg(1), "x": 1})] * 80 + [Op("halt")]
        bench = _Bench(load_config("tiny"), ops, base_atom=0, stall=0.0)
        simulate(bench.dut, bench.run, limit=2000)
        assert bench.retired == top + 3 * length + 81


def _run(ops: list[Op], change=None) -> _Bench:
    """Run a program that traps; ``change`` may alter the code in memory before."""
    bench = _Bench(load_config("tiny"), ops, base_atom=3, stall=0.0)
    if change:
        change(bench)
    simulate(bench.dut, bench.run)
    return bench


_COUNT = [Op("add", {"rd": Reg(1), "rs": Reg(0), "x": 3})] * 5
_STORE = Op("st", {"rs": Reg(1), "x": DATA_ATOM})


@pytest.mark.parametrize(
    ("byte", "cause"), [(0x7F, Cause.ILLEGAL_OPCODE), (0xE1, Cause.ILLEGAL_OPCODE)]
)
def test_illegal_opcode_traps(byte, cause):
    def change(bench):
        bench.memory[3 * 64 + 5 * 32] = byte

    bench = _run([*_COUNT, Op("vnop"), Op("lnop"), _STORE, Op("halt")], change)
    assert bench.fault == (Fault(cause), 5)
    assert bench.retired == 5
    assert not bench.commands


def _trapped(*ops: Op) -> tuple[_Bench, Fault]:
    """Run instructions between a nop and a store and further nops; the second one must trap."""
    bench = _run([Op("snop"), *ops, Op("mnop"), _STORE, Op("halt")])
    before = bytes(_Bench(load_config("tiny"), [], 3, 0.0).memory)[64 * DATA_ATOM :]
    assert bytes(bench.memory[64 * DATA_ATOM :]) == before, "nothing behind the trap is done"
    fault, pc = bench.fault
    assert pc == len(ops)
    assert next(engine for engine, _ in bench.commands) == Engine.STORE
    assert Engine.MATRIX not in [engine for engine, _ in bench.commands]
    return bench, fault


def test_reserved_bits_trap():
    def change(bench):
        bench.memory[3 * 64 + 6 * 32 + 31] |= 0x80

    bench = _run([*_COUNT, Op("vnop"), Op("lnop"), Op("mnop"), Op("halt")], change)
    assert bench.fault == (Fault(Cause.RESERVED_BITS), 6)
    assert [engine for engine, _ in bench.commands] == [Engine.VECTOR]


def test_illegal_operands_trap():
    _, fault = _trapped(Op("load", {"hbm": 1024, "rows": 1, "bytes": 32}))
    assert fault == Fault(Cause.OUT_OF_RANGE, 0)
    overflow = [
        Op("add", {"rd": Reg(3), "rs": Reg(0), "x": 1 << 16}),
        Op("store", {"rows": Reg(3), "bytes": 32}),
    ]
    _, fault = _trapped(*overflow)
    assert fault == Fault(Cause.REGISTER_OVERFLOW, 4)


def test_scalar_accesses_trap_before_they_are_made():
    _, fault = _trapped(Op("st", {"rs": Reg(1), "x": MEMORY_BYTES // 64}))
    assert fault == Fault(Cause.OUT_OF_RANGE, 2)
    _, fault = _trapped(Op("ld", {"rd": Reg(1), "x": DATA_ATOM, "y": 2}))
    assert fault == Fault(Cause.MISALIGNED, 3)


def test_waits_need_signals_ahead_of_them():
    _, fault = _trapped(Op("vnop", waits=((9, 1),), signals=(9,)))
    assert fault == Fault(Cause.NOT_SIGNALLED, 9)
    signal = Op("snop", signals=(9, 8, 9))
    _, fault = _trapped(signal, Op("sync", waits=((8, 1), (9, 3))))
    assert fault == Fault(Cause.NOT_SIGNALLED, 9)
    bench, fault = _trapped(signal, Op("vnop", waits=((9, 1), (8, 1), (9, 2))))
    assert fault == Fault(Cause.NOT_SIGNALLED, 9)
    assert bench.operations == 0
    _, fault = _trapped(signal, Op("snop", waits=((9, 2),)), Op("vnop", waits=((9, 1),)))
    assert fault == Fault(Cause.NOT_SIGNALLED, 9)


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9])
def test_end_of_program(count):
    bench = _run([*_COUNT, *_COUNT][:count])
    assert bench.fault == (Fault(Cause.END_OF_PROGRAM), count)
    assert bench.retired == count


def test_branch_behind_the_program():
    bench = _run([Op("beq", {"rs": Reg(0), "x": 0, "y": (1 << 32) - 1}), Op("halt")])
    assert bench.fault == (Fault(Cause.END_OF_PROGRAM), (1 << 32) - 1)


def test_traps_wait_for_the_engines_and_watchdogs_do_not():
    """What is ahead of the fault goes on until all is idle; a bus error stops what is queued."""
    config = load_config("tiny")

    async def until_stuck(ctx, bench, cycles: int):
        ctx.set(bench.dut.engines_idle, 0)
        for _ in range(cycles):
            for model in bench.models:
                model.drive(ctx)
            for model in bench.models:
                model.sample(ctx)
            await ctx.tick()

    def make(*ops: Op):
        bench = _Bench(config, [*ops, Op("halt")], base_atom=3, stall=0.0)

        async def begin(ctx):
            dut = bench.dut
            for name, value in (("code_base", 3), ("code_count", bench.count), ("start", 1)):
                ctx.set(getattr(dut, name), value)
            await until_stuck(ctx, bench, 1)
            ctx.set(dut.start, 0)
            await until_stuck(ctx, bench, 60)
            assert ctx.get(dut.running)
            assert not ctx.get(dut.trapped)

        return bench, begin

    bench, begin = make(Op("vnop", waits=((1, 1),)))

    async def precise(ctx):
        await begin(ctx)
        assert not ctx.get(bench.dut.stop)
        assert ctx.get(bench.dut.waiting_operand)
        ctx.set(bench.dut.engines_idle, 1)
        await ctx.tick().repeat(2)
        assert ctx.get(bench.dut.trapped & bench.dut.stop & ~bench.dut.running)
        assert ctx.get(bench.dut.trap_cause) == Cause.NOT_SIGNALLED

    simulate(bench.dut, precise)
    bench, begin = make(Op("sync"))

    async def watchdog(ctx):
        await begin(ctx)
        ctx.set(bench.dut.watchdog, 1)
        await ctx.tick()
        assert ctx.get(bench.dut.trapped & bench.dut.stop & ~bench.dut.running)
        assert ctx.get(bench.dut.trap_cause) == Cause.WATCHDOG
        assert ctx.get(bench.dut.trap_pc) == 0

    simulate(bench.dut, watchdog)
    second, begin_second = make(Op("add", {"rd": Reg(1), "rs": Reg(1), "x": 1}), Op("sync"))

    async def bus_error(ctx):
        await begin_second(ctx)
        ctx.set(second.dut.bus_error, 1)
        await ctx.tick()
        ctx.set(second.dut.bus_error, 0)
        await ctx.tick().repeat(3)
        assert ctx.get(second.dut.stop & ~second.dut.trapped), "an engine is at work"
        ctx.set(second.dut.engines_idle, 1)
        ctx.set(second.dut.engines_quiet, 1)
        await ctx.tick().repeat(2)
        assert ctx.get(second.dut.trapped & ~second.dut.halted)
        assert ctx.get(second.dut.trap_cause) == Cause.BUS_ERROR
        assert ctx.get(second.dut.trap_pc) == 1

    simulate(second.dut, bus_error)
