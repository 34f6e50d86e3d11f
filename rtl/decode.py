"""The decoder: which bits of an instruction mean what, derived from the table's slots."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from isa import table
from isa.table import (
    ENGINE_SHIFT,
    INSTRUCTIONS,
    OPCODE_BITS,
    REGISTER_BITS,
    Choice,
    Engine,
    Format,
    Operand,
)
from rtl.encoding import WORD_BITS, bits_of
from rtl.semaphore import GUARDS

VALUE_BITS = 32
# Engine → format: the field layout of its instructions.
FORMATS = {instruction.engine: instruction.format for instruction in INSTRUCTIONS}


def fields_of(fields: Format, kind: type) -> list:
    """A format's fields of one kind, in order."""
    return [field for field in fields.fields if isinstance(field, kind)]


# The n-th operands of all formats share one register read port.
OPERANDS = {engine: fields_of(fields, Operand) for engine, fields in FORMATS.items()}
PORTS = max(map(len, OPERANDS.values()))
CHOICES = {engine: fields_of(fields, Choice) for engine, fields in FORMATS.items()}
CHOICE_BITS = max(sum(choice.width for choice in choices) for choices in CHOICES.values())


def opcode_of(mnemonic: str) -> int:
    return table.BY_MNEMONIC[mnemonic].opcode


class Decoder(wiring.Component):
    """Splits an instruction and replaces operands that name a register by its value. Combinational.

    Members
    -------
    word : the instruction
    engine, opcode : undefined engine for an opcode that no mnemonic has
    rd, rs : the scalar format's registers
    guards : waits and signals
    register, value : the ports of the scalar registers, read without delay
    operands : the n-th operand of the format, 32 bits wide whatever its field's width
    choices : the format's choices behind each other, the first lowest
    """

    def __init__(self):
        super().__init__(
            {
                "word": In(WORD_BITS),
                "engine": Out(Engine),
                "opcode": Out(OPCODE_BITS),
                "rd": Out(REGISTER_BITS),
                "rs": Out(REGISTER_BITS),
                "guards": Out(GUARDS),
                "register": Out(REGISTER_BITS).array(PORTS),
                "value": In(VALUE_BITS).array(PORTS),
                "operands": Out(VALUE_BITS).array(PORTS),
                "choices": Out(CHOICE_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        scalar = FORMATS[Engine.SEQUENCER]
        m.d.comb += [
            self.opcode.eq(self.word[:OPCODE_BITS]),
            self.engine.eq(self.word[ENGINE_SHIFT:OPCODE_BITS]),
            self.rd.eq(bits_of(self.word, scalar, "rd")),
            self.rs.eq(bits_of(self.word, scalar, "rs")),
        ]
        for index in range(table.WAITS):
            wait = self.guards.waits[index]
            m.d.comb += data.View.as_value(wait).eq(self.word >> table.wait_offset(index))
        for index in range(table.SIGNALS):
            signal = self.guards.signals[index]
            m.d.comb += data.View.as_value(signal).eq(self.word >> table.signal_offset(index))
        for port in range(PORTS):
            self._operand(m, port)
        with m.Switch(self.engine):
            for engine, choices in CHOICES.items():
                with m.Case(engine):
                    parts = [bits_of(self.word, FORMATS[engine], c.name) for c in choices]
                    m.d.comb += self.choices.eq(Cat(parts))
        return m

    def _operand(self, m, port: int):
        """Value of the operand that each format has at position ``port``."""
        raw = Signal(VALUE_BITS, name=f"raw_{port}")
        named = Signal(name=f"named_{port}")
        with m.Switch(self.engine):
            for engine, operands in OPERANDS.items():
                if port < len(operands):
                    bits = bits_of(self.word, FORMATS[engine], operands[port].name)
                    with m.Case(engine):
                        m.d.comb += [raw.eq(bits[:-1]), named.eq(bits[-1])]
        m.d.comb += [
            self.register[port].eq(raw),
            self.operands[port].eq(Mux(named, self.value[port], raw)),
        ]


def field_values(engine: Engine, operands, choices) -> dict:
    """Field name → its bits, of an engine's instruction whose operands are resolved."""
    values = {field.name: operands[i][: field.bits] for i, field in enumerate(OPERANDS[engine])}
    offset = 0
    for choice in CHOICES[engine]:
        values[choice.name] = choices[offset : offset + choice.width]
        offset += choice.width
    return values
