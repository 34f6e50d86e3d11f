"""Sequencer: random programs against the functional simulator's scalar machine."""

import random
from types import SimpleNamespace

import numpy as np
import pytest

from isa.config import load_config
from isa.program import Op, Reg, encode_program
from isa.table import Choice, Engine
from rtl.sequencer import ENGINES, Sequencer
from sim.scalar import ScalarMachine
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


def _engine(dice: random.Random) -> Op:
    mnemonic = dice.choice(["load", "store", "matmul", "vadd", "vrot", "vnop", "lnop"])
    fields = {}
    spec = Op(mnemonic).spec
    for name in spec.uses:
        field = spec.format.slots[name].field
        is_choice = isinstance(field, Choice)
        fields[name] = dice.choice(field.values) if is_choice else _source(dice, field.bits)
    return Op(mnemonic, fields, waits=((dice.randrange(32), dice.randint(1, 3)),), signals=(31, 7))


def _body(dice: random.Random, length: int) -> list[Op]:
    return [_scalar(dice) if dice.random() < 0.7 else _engine(dice) for _ in range(length)]


def random_program(seed: int) -> list[Op]:
    """Straight pieces, loops short and longer than the fetch buffer, forward branches."""
    dice = random.Random(seed)
    ops = _body(dice, 20)
    for length in (3, 150, 11):
        ops.append(Op("add", {"rd": Reg(14), "rs": Reg(0), "x": 0}))
        top = len(ops)
        ops += _body(dice, length)
        ops.append(Op("add", {"rd": Reg(14), "rs": Reg(14), "x": 1}))
        ops.append(Op("blt", {"rs": Reg(14), "x": dice.randint(2, 6), "y": top}))
        for mnemonic in ("beq", "blt"):
            skipped = dice.randrange(1, 90)
            fields = {"rs": Reg(dice.randrange(14)), "x": _source(dice)}
            ops.append(Op(mnemonic, fields | {"y": len(ops) + 1 + skipped}))
            ops += _body(dice, skipped)
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
        self.fetch, self.models = fetch, (fetch, read, write)
        self.commands: list[tuple[Engine, dict]] = []
        self.retired = self.cycles = self.operations = 0

    async def run(self, ctx) -> None:
        dut, dice = self.dut, random.Random(2)
        ctx.set(dut.code_base, self.base)
        ctx.set(dut.start, 1)
        ctx.set(dut.engines_idle, 1)
        while not ctx.get(dut.halted | dut.trap):
            assert self.cycles < LIMIT
            for model in self.models:
                model.drive(ctx)
            for name in ENGINES.values():
                ctx.set(getattr(dut, name).ready, dice.random() >= self.stall)
            ctx.set(dut.semaphores.ready, dice.random() >= self.stall)
            for model in self.models:
                model.sample(ctx)
            self._observe(ctx)
            await ctx.tick()
            ctx.set(dut.start, 0)
            self.cycles += 1

    def _observe(self, ctx) -> None:
        dut = self.dut
        self.retired += ctx.get(dut.retired)
        self.operations += ctx.get(dut.semaphores.valid & dut.semaphores.ready)
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
        ops = random_program(seed)
        bench = _Bench(config, ops, base_atom=2 * seed + 1, stall=stall)
        memory = np.frombuffer(bytearray(bench.memory), np.uint8).copy()
        machine = ScalarMachine(encode_program(ops))
        reference = list(machine.run(memory))
        simulate(bench.dut, bench.run)
        _compare(bench.commands, reference)
        assert bytes(bench.memory) == memory.tobytes()
        assert bench.retired == machine.executed
        assert bench.operations == 3  # of `sync`: those of engines are not the sequencer's


def test_one_instruction_per_cycle():
    """Straight code and a loop that fits the buffer, once the memory's latency has passed."""
    ops = [Op("add", {"rd": Reg(1), "rs": Reg(1), "x": 1}) for _ in range(400)]
    ops += [Op("add", {"rd": Reg(2), "rs": Reg(2), "x": 1}) for _ in range(20)]
    ops += [Op("vnop"), Op("blt", {"rs": Reg(2), "x": 400, "y": 400}), Op("halt")]
    bench = _Bench(load_config("tiny"), ops, base_atom=5, stall=0.0, latency=40)
    simulate(bench.dut, bench.run)
    instructions = 400 + 20 * 22 + 1
    assert bench.retired + len(bench.commands) == instructions
    assert bench.cycles <= instructions + 40 + 10
    assert bench.fetch.bursts <= len(ops) // 8 + 10  # the loop was not read again


def test_illegal_opcode_traps():
    ops = [Op("add", {"rd": Reg(1), "rs": Reg(0), "x": 3})] * 5
    bench = _Bench(load_config("tiny"), ops, base_atom=3, stall=0.0)
    bench.memory[3 * 64 + 5 * 32] = 0x7F

    async def run(ctx):
        await bench.run(ctx)
        assert ctx.get(bench.dut.trap)
        assert ctx.get(bench.dut.trap_pc) == 5
        assert not ctx.get(bench.dut.running)

    simulate(bench.dut, run)
    assert bench.retired == 5
