"""Random programs for the sequencer, and its surroundings in Amaranth's simulator."""

import random
from collections import Counter
from types import SimpleNamespace

from isa.program import Op, Reg, encode_program
from isa.table import Choice, Engine
from isa.traps import Cause, Fault
from rtl.sequencer import ENGINES, Sequencer
from tb.instructions import InstructionMaker
from tests.axi_model import ReadModel, WriteModel

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


class SequencerBench:
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


def expected_command(command) -> SimpleNamespace:
    """Field values of a command, choices as numbers."""
    values = {}
    slots = command.op.spec.format.slots
    for (name, slot), value in zip(slots.items(), command.fields, strict=True):
        is_choice = isinstance(slot.field, Choice)
        values[name] = slot.field.values.index(value) if is_choice else value
    return SimpleNamespace(**values)


def compare_commands(commands, reference) -> None:
    wanted = [command for command in reference if command.engine != Engine.SEQUENCER]
    assert len(commands) == len(wanted)
    for (engine, item), command in zip(commands, wanted, strict=True):
        assert engine == command.engine
        assert item.command.opcode == command.op.spec.opcode
        for name, value in vars(expected_command(command)).items():
            if name in command.op.spec.uses:
                assert getattr(item.command, name) == value, f"{command}: {name}"
        waits = [(w.semaphore, w.count) for w in item.guards.waits if w.count]
        assert tuple(waits) == command.waits
        assert tuple(s.semaphore for s in item.guards.signals if s.valid) == command.signals
