"""LegalityCheck against isa.legal, instruction by instruction."""

import random
from collections import Counter

import pytest

from isa.program import Op, encode
from isa.table import BY_MNEMONIC, BY_OPCODE, Engine
from isa.traps import Cause, Fault
from rtl.decode import OPERANDS, PORTS, opcode_of
from rtl.legal import LegalityCheck
from tb.instructions import InstructionMaker
from tb.legal_stimulus import ATOMS, ODD, TINY, issue_entry, moved_cases, random_cases
from tests.support import simulate

TALL = TINY.replace(name="tall", rows=64, cols=8, lanes=4, line_bytes=128, axi_bytes=128,
                    element="int8")  # fmt: skip


def _check(config, cases: list[tuple[dict, Fault | None]], stall: float = 0.0) -> int:
    """Send entries, compare verdicts; returns the cycles it took."""
    dut, dice, cycles = LegalityCheck(config), random.Random(3), 0

    async def send(ctx):
        ctx.set(dut.memory_atoms, ATOMS)
        for index, (entry, _) in enumerate(cases):
            while dice.random() < stall:
                await ctx.tick()
            ctx.set(dut.i.pc, index)
            for name in ("engine", "opcode", "choices"):
                ctx.set(getattr(dut.i, name), entry[name])
            for port in range(PORTS):
                value = entry["operands"][port] if port < len(entry["operands"]) else 0
                ctx.set(dut.i.operands[port], value)
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)

    async def receive(ctx):
        nonlocal cycles
        for index, (entry, expected) in enumerate(cases):
            while dice.random() < stall:
                await ctx.tick()
                cycles += 1
            ctx.set(dut.o.ready, 1)
            while not ctx.get(dut.o.valid):
                await ctx.tick()
                cycles += 1
            found = Fault(Cause(ctx.get(dut.o.cause)), ctx.get(dut.o.where))
            assert ctx.get(dut.o.pc) == index
            assert found == (expected or Fault(Cause.NONE)), f"{BY_OPCODE[entry['opcode']]} {entry}"
            assert ctx.get(dut.o.operands[0]) == entry["operands"][0]
            await ctx.tick()
            cycles += 1
            ctx.set(dut.o.ready, 0)

    simulate(dut, send, receive)
    return cycles


@pytest.mark.parametrize(("config", "stall"), [(TINY, 0.0), (TINY, 0.3), (ODD, 0.0), (TALL, 0.1)])
def test_random_instructions(config, stall):
    cases = list(random_cases(config, ATOMS, 1200, seed=5))
    _check(config, cases, stall)
    seen = Counter(fault and fault.cause for _, fault in cases)
    wanted = {None, *map(Cause, range(Cause.BAD_SIZE, Cause.NOT_SIGNALLED))}
    assert set(seen) == wanted
    assert seen[None] > 150


@pytest.mark.parametrize("config", [TINY, ODD, TALL], ids=lambda config: config.name)
def test_just_legal_and_just_not(config):
    mnemonics = ("load", "gather", "store", "matmul", "vadd", "vmov", "vrot", "vmaskl", "vargmax")
    cases = list(moved_cases(config, ATOMS, mnemonics, 2, seed=9))
    seen = Counter(fault for _, fault in cases)
    assert len(seen) > 12
    _check(config, cases)


def test_register_overflow_comes_first():
    """Before what `isa.legal` finds; the first of several fields; whatever the register's bit."""
    maker, cases = InstructionMaker(TINY, ATOMS, seed=2), []
    for mnemonic in ("load", "gather", "store", "matmul", "vmask", "vadd"):
        slots = list(BY_MNEMONIC[mnemonic].format.slots)
        for field in OPERANDS[BY_MNEMONIC[mnemonic].engine]:
            if field.name in BY_MNEMONIC[mnemonic].uses and field.bits < 32:
                fault = Fault(Cause.REGISTER_OVERFLOW, slots.index(field.name))
                for op in (maker.legal(mnemonic), maker.op(mnemonic, 0.5)):
                    cases.append((issue_entry(op, field.name), fault))
    _check(TINY, cases)


def _scalar(mnemonic: str, x: int, y: int) -> dict:
    return {
        "engine": Engine.SEQUENCER,
        "opcode": opcode_of(mnemonic),
        "choices": 0,
        "operands": [x, y],
    }


def test_scalar_accesses():
    """`ld` and `st` have rules; arithmetic and branches take any operand."""
    slots = list(BY_MNEMONIC["ld"].format.slots)
    outside = Fault(Cause.OUT_OF_RANGE, slots.index("x"))
    misaligned = Fault(Cause.MISALIGNED, slots.index("y"))
    cases = []
    for mnemonic in ("ld", "st"):
        cases += [
            (_scalar(mnemonic, 0, 0), None),
            (_scalar(mnemonic, ATOMS - 1, 60), None),
            (_scalar(mnemonic, 0, 64 * ATOMS - 4), None),
            (_scalar(mnemonic, ATOMS - 1, 64), outside),
            (_scalar(mnemonic, ATOMS, 0), outside),
            (_scalar(mnemonic, (1 << 32) - 1, (1 << 32) - 4), outside),
            (_scalar(mnemonic, ATOMS, 2), misaligned),
            (_scalar(mnemonic, 0, 1), misaligned),
        ]
    cases += [(_scalar(m, (1 << 32) - 1, 7), None) for m in ("add", "beq", "sync", "halt")]
    _check(TINY, cases)


def test_one_instruction_per_cycle_but_for_divisions():
    maker = InstructionMaker(TINY, ATOMS, seed=4)
    load = issue_entry(maker.legal("load")), None
    assert _check(TINY, [load] * 50) == 50 + 3
    fields = {"rows": 9, "cols": 1, "rep": 2, "bstride": 32, "dstride": 32, "astride": 32}
    repeats = issue_entry(Op("vadd", fields)), None
    assert encode(Op("vadd", fields))
    assert _check(TINY, [load, repeats, load]) == 3 + 3 + 17


def test_faults_found_before_are_kept():
    dut = LegalityCheck(TINY)

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.i.cause, Cause.RESERVED_BITS)
        ctx.set(dut.i.opcode, opcode_of("load"))  # with rows = 0
        ctx.set(dut.i.engine, Engine.LOAD)
        await ctx.tick().repeat(3)
        assert ctx.get(dut.o.valid)
        assert ctx.get(dut.o.cause) == Cause.RESERVED_BITS
        ctx.set(dut.clear, 1)
        await ctx.tick()
        assert not ctx.get(dut.o.valid)
        assert not ctx.get(dut.busy)

    simulate(dut, bench)
