"""EncodingCheck: which 256-bit words are instructions."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from isa.table import (
    BY_OPCODE,
    HEADER_BITS,
    INSTRUCTION_BYTES,
    INSTRUCTIONS,
    OPCODE_BITS,
    REGISTER_BITS,
    SIGNAL_BITS,
    SIGNALS,
    WAIT_BITS,
    WAIT_COUNT_BITS,
    WAITS,
    Choice,
    Format,
    Instruction,
    Operand,
    signal_offset,
    wait_offset,
)

WORD_BITS = 8 * INSTRUCTION_BYTES


def bits_of(word, fields: Format, name: str):
    """Field ``name`` of the instruction ``word``, flag bit of operands included."""
    slot = fields.slots[name]
    return word[slot.offset : slot.offset + slot.width]


class EncodingCheck(wiring.Component):
    """Tells words that `isa.program.encode` makes from others. Combinational.

    Members: `word`; `unknown` no mnemonic has this opcode; `reserved` bits or encodings without a
    meaning are in use (undefined where the opcode is unknown).
    """

    def __init__(self):
        super().__init__({"word": In(WORD_BITS), "unknown": Out(1), "reserved": Out(1)})

    def elaborate(self, platform):
        m = Module()
        opcode, known, unused, senseless = (Signal(n) for n in (OPCODE_BITS, 1, 1, 1))
        m.d.comb += [
            opcode.eq(self.word[:OPCODE_BITS]),
            self.unknown.eq(~known),
            self.reserved.eq(unused | senseless | self._sparse()),
        ]
        with m.Switch(opcode):
            with m.Case(*sorted(BY_OPCODE)):
                m.d.comb += known.eq(1)
        with m.Switch(opcode):
            for mask, opcodes in _unused_masks().items():
                with m.Case(*opcodes):
                    m.d.comb += unused.eq((self.word & mask).any())
        with m.Switch(opcode):
            for fields, opcodes in _formats().items():
                with m.Case(*opcodes):
                    m.d.comb += senseless.eq(Cat(_senseless(self.word, fields)).any())
        return m

    def _sparse(self):
        """A wait or signal behind an empty one, or a number in an empty one."""
        wrong = []
        for offset, width, count, first_use in (
            (wait_offset, WAIT_BITS, WAITS, WAIT_BITS - WAIT_COUNT_BITS),
            (signal_offset, SIGNAL_BITS, SIGNALS, SIGNAL_BITS - 1),
        ):
            slots = [self.word[offset(i) : offset(i) + width] for i in range(count)]
            for index, slot in enumerate(slots):
                behind = slots[index + 1 : index + 2]
                wrong.append(~slot[first_use:].any() & Cat(slot, *behind).any())
        return Cat(wrong).any()


def _unused_masks() -> dict[int, list[int]]:
    """Bits that must be 0 → the opcodes of which this is true."""
    masks: dict[int, list[int]] = {}
    for instruction in INSTRUCTIONS:
        used = (1 << HEADER_BITS) - 1
        for name in instruction.uses:
            slot = instruction.format.slots[name]
            used |= (1 << slot.width) - 1 << slot.offset
        masks.setdefault((1 << WORD_BITS) - 1 & ~used, []).append(instruction.opcode)
    return masks


def _formats() -> dict[Format, list[int]]:
    """Format → the opcodes that have it."""
    formats: dict[Format, list[Instruction]] = {}
    for instruction in INSTRUCTIONS:
        formats.setdefault(instruction.format, []).append(instruction)
    return {fields: [i.opcode for i in entries] for fields, entries in formats.items()}


def _senseless(word, fields: Format) -> list:
    """Choices beyond the last one, registers beyond the last one. Fields that a mnemonic does not
    use are 0, which makes sense."""
    wrong = []
    for field in fields.fields:
        bits = bits_of(word, fields, field.name)
        if isinstance(field, Choice) and len(field.values) < 1 << field.width:
            wrong.append(bits >= len(field.values))
        elif isinstance(field, Operand):
            wrong.append(bits[-1] & bits[REGISTER_BITS:-1].any())
    return wrong
