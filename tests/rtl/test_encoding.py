"""EncodingCheck against isa.program.decode."""

import random

from amaranth.sim import Simulator

from isa import table
from isa.program import Op, Reg, decode, encode
from isa.table import BY_OPCODE, INSTRUCTIONS, Choice, Register
from rtl.encoding import WORD_BITS, EncodingCheck


def random_op(dice: random.Random, mnemonic: str) -> Op:
    """Any encodable instruction."""
    spec, fields = Op(mnemonic).spec, {}
    for name in spec.uses:
        field = spec.format.slots[name].field
        if isinstance(field, Choice):
            fields[name] = dice.choice(field.values)
        elif isinstance(field, Register) or dice.random() < 0.3:
            fields[name] = Reg(dice.randrange(table.REGISTERS))
        else:
            fields[name] = dice.choice([0, (1 << field.bits) - 1, dice.getrandbits(field.bits)])
    waits = [(dice.randrange(32), dice.randint(1, 3)) for _ in range(dice.randrange(4))]
    signals = [dice.randrange(32) for _ in range(dice.randrange(4))]
    return Op(mnemonic, fields, tuple(waits), tuple(signals))


def _check(words: list[int]) -> int:
    """Compares all words; returns how many of them are instructions."""
    dut, legal = EncodingCheck(), 0

    async def bench(ctx):
        nonlocal legal
        for word in words:
            ctx.set(dut.word, word)
            unknown = word & 0xFF not in BY_OPCODE
            try:
                decode(word.to_bytes(table.INSTRUCTION_BYTES, "little"))
                expected = 0
            except ValueError:
                expected = 1
            assert ctx.get(dut.unknown) == unknown
            if not unknown:
                assert ctx.get(dut.reserved) == expected, f"{word:064x}"
            legal += not expected
            await ctx.delay(1e-9)

    simulator = Simulator(dut)  # without a clock: the check is combinational
    simulator.add_testbench(bench)
    simulator.run()
    return legal


def test_every_opcode():
    assert _check(list(range(256))) == len(INSTRUCTIONS)


def test_legal_instructions_and_those_with_one_bit_changed():
    dice, words = random.Random(8), []
    for instruction in INSTRUCTIONS:
        for _ in range(20):
            word = int.from_bytes(encode(random_op(dice, instruction.mnemonic)), "little")
            words.append(word)
            words += [word ^ 1 << dice.randrange(WORD_BITS) for _ in range(3)]
            words.append(word ^ 1 << dice.randrange(table.HEADER_BITS))
    legal = _check(words)
    assert len(words) / 4 < legal < len(words) * 0.75


def test_each_bit_of_a_nop_and_of_a_full_instruction():
    for op in (Op("vnop"), Op("matmul"), Op("vrot", {"rep": Reg(3)}), Op("halt"), Op("ld")):
        word = int.from_bytes(encode(op), "little")
        _check([word, *(word ^ 1 << bit for bit in range(WORD_BITS))])


def test_every_choice_encoding():
    words = []
    for instruction in INSTRUCTIONS:
        for name in instruction.uses:
            slot = instruction.format.slots[name]
            if isinstance(slot.field, Choice):
                codes = range(1 << slot.width)
                words += [instruction.opcode | code << slot.offset for code in codes]
    _check(words)
