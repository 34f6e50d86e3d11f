"""The decoder: which bits of an instruction mean what, derived from the table's slots."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from isa import table
from isa.table import (
    INSTRUCTION_BYTES,
    INSTRUCTIONS,
    OPCODE_BITS,
    REGISTER_BITS,
    Choice,
    Engine,
    Format,
    Operand,
)
from rtl.dispatch import item_layout
from rtl.semaphore import GUARDS

WORD_BITS = 8 * INSTRUCTION_BYTES
VALUE_BITS = 32
# Engine → format: the field layout of its instructions.
FORMATS = {instruction.engine: instruction.format for instruction in INSTRUCTIONS}
# The n-th operands of all formats share one register read port.
OPERANDS = {
    engine: [field for field in fields.fields if isinstance(field, Operand)]
    for engine, fields in FORMATS.items()
}
PORTS = max(map(len, OPERANDS.values()))


def bits_of(word, fields: Format, name: str):
    """Field ``name`` of the instruction ``word``, flag bit of operands included."""
    slot = fields.slots[name]
    return word[slot.offset : slot.offset + slot.width]


def opcode_of(mnemonic: str) -> int:
    return table.BY_MNEMONIC[mnemonic].opcode


class Decoder(wiring.Component):
    """Splits an instruction and replaces operands that name a register by its value. Combinational.

    Members
    -------
    word : the instruction
    engine, opcode, legal : `legal` is 0 for an unknown opcode
    rd, rs, x, y : the scalar format's; `rs` is a register number
    guards : waits and signals
    register, value : the ports of the scalar registers, read without delay
    load, store, matrix, vector : queue items of the engines, valid when `engine` says so
    """

    def __init__(self):
        items = {
            engine.name.lower(): Out(item_layout(fields))
            for engine, fields in FORMATS.items()
            if engine != Engine.SEQUENCER
        }
        super().__init__(
            {
                "word": In(WORD_BITS),
                "engine": Out(Engine),
                "opcode": Out(OPCODE_BITS),
                "legal": Out(1),
                "rd": Out(REGISTER_BITS),
                "rs": Out(REGISTER_BITS),
                "x": Out(VALUE_BITS),
                "y": Out(VALUE_BITS),
                "guards": Out(GUARDS),
                "register": Out(REGISTER_BITS).array(PORTS),
                "value": In(VALUE_BITS).array(PORTS),
                **items,
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._header(m)
        resolved = [self._operand(m, port) for port in range(PORTS)]
        scalar = FORMATS[Engine.SEQUENCER]
        names = [field.name for field in OPERANDS[Engine.SEQUENCER]]
        m.d.comb += [
            self.rd.eq(bits_of(self.word, scalar, "rd")),
            self.rs.eq(bits_of(self.word, scalar, "rs")),
            self.x.eq(resolved[names.index("x")]),
            self.y.eq(resolved[names.index("y")]),
        ]
        for engine, fields in FORMATS.items():
            if engine != Engine.SEQUENCER:
                self._item(m, getattr(self, engine.name.lower()), engine, fields, resolved)
        return m

    def _header(self, m):
        opcode, engine = Signal(OPCODE_BITS), Signal(Engine)
        m.d.comb += [
            opcode.eq(self.word),
            engine.eq(opcode[4:7]),
            self.opcode.eq(opcode),
            self.engine.eq(engine),
        ]
        with m.Switch(opcode):
            with m.Case(*sorted(table.BY_OPCODE)):
                m.d.comb += self.legal.eq(1)
        for index in range(table.WAITS):
            wait = self.guards.waits[index]
            m.d.comb += data.View.as_value(wait).eq(self.word >> table.wait_offset(index))
        for index in range(table.SIGNALS):
            signal = self.guards.signals[index]
            m.d.comb += data.View.as_value(signal).eq(self.word >> table.signal_offset(index))

    def _operand(self, m, port: int) -> Signal:
        """Value of the operand that each format has at position ``port``."""
        raw = Signal(VALUE_BITS, name=f"raw_{port}")
        named = Signal(name=f"named_{port}")
        resolved = Signal(VALUE_BITS, name=f"resolved_{port}")
        with m.Switch(self.engine):
            for engine, operands in OPERANDS.items():
                if port < len(operands):
                    bits = bits_of(self.word, FORMATS[engine], operands[port].name)
                    with m.Case(engine):
                        m.d.comb += [raw.eq(bits[:-1]), named.eq(bits[-1])]
        m.d.comb += [
            self.register[port].eq(raw),
            resolved.eq(Mux(named, self.value[port], raw)),
        ]
        return resolved

    def _item(self, m, item, engine: Engine, fields: Format, resolved):
        """Assemble a queue item; operands keep the low bits that their field has."""
        names = [field.name for field in OPERANDS[engine]]
        values = [self.opcode]  # in the order of the command's layout
        for field in fields.fields:
            if isinstance(field, Operand):
                values.append(resolved[names.index(field.name)][: field.bits])
            elif isinstance(field, Choice):
                values.append(bits_of(self.word, fields, field.name))
        m.d.comb += item.eq(Cat(self.guards, *values))
