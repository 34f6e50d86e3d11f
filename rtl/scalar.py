"""What the sequencer executes itself: the integer ALU and accesses to single words of memory."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from isa.table import REGISTER_BITS, REGISTERS
from rtl.axi import ADDRESS_BITS, ReadClient, WriteClient, beat_shift
from rtl.decode import PORTS, VALUE_BITS, opcode_of

WORD_BYTES = VALUE_BITS // 8
ARITHMETIC = ("add", "sub", "mul", "and", "or", "shl", "shr", "min", "max")


class Registers(wiring.Component):
    """The scalar registers: many read ports without delay, one write port. Register 0 reads as 0.

    Members: `register`, `value` the read ports (the last is the source register's); `write`,
    `index`, `data`; `clear` sets all to 0.
    """

    def __init__(self):
        super().__init__(
            {
                "register": In(REGISTER_BITS).array(PORTS + 1),
                "value": Out(VALUE_BITS).array(PORTS + 1),
                "write": In(1),
                "index": In(REGISTER_BITS),
                "data": In(VALUE_BITS),
                "clear": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.cells = cells = memory.Memory(shape=VALUE_BITS, depth=REGISTERS, init=[])
        port = cells.write_port()
        used = Signal(REGISTERS)  # the others read as 0: the memory itself has no reset
        m.d.comb += [
            port.en.eq(self.write),
            port.addr.eq(self.index),
            port.data.eq(self.data),
        ]
        for register, value in zip(self.register, self.value, strict=True):
            read = cells.read_port(domain="comb")
            m.d.comb += [
                read.addr.eq(register),
                value.eq(Mux(used.bit_select(register, 1), read.data, 0)),
            ]
        with m.If(self.clear):
            m.d.sync += used.eq(0)
        with m.Elif(self.write & (self.index != 0)):
            m.d.sync += used.bit_select(self.index, 1).eq(1)
        return m


def alu(m: Module, opcode: Signal, a: Signal, b: Signal) -> Signal:
    """Result of the arithmetic instructions (32 bits); undefined for other opcodes."""
    result, less = Signal(VALUE_BITS), Signal()
    m.d.comb += less.eq(a < b)
    operations = {
        "add": a + b,
        "sub": a - b,
        "mul": a * b,
        "and": a & b,
        "or": a | b,
        "shl": a << b[:5],
        "shr": a >> b[:5],
        "min": Mux(less, a, b),
        "max": Mux(less, b, a),
    }
    with m.Switch(opcode):
        for mnemonic, value in operations.items():
            with m.Case(opcode_of(mnemonic)):
                m.d.comb += result.eq(value)
    return result


class ScalarMemory(wiring.Component):
    """Loads and stores of one 32-bit word, one at a time, each a burst of one beat.

    Members
    -------
    load, store : request, stays until `clear`
    address : in bytes, a multiple of 4; `data` the word to store
    finished : the word has come, the memory has acknowledged; stays until `clear`
    value : the word loaded
    clear : the instruction is over
    pending : a request is made that memory has not answered; it may not be taken back
    read, write : the memory's clients
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        super().__init__(
            {
                "load": In(1),
                "store": In(1),
                "address": In(ADDRESS_BITS),
                "data": In(VALUE_BITS),
                "finished": Out(1),
                "value": Out(VALUE_BITS),
                "clear": In(1),
                "pending": Out(1),
                "read": Out(ReadClient(config)),
                "write": Out(WriteClient(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        read, write, words = self.read, self.write, self._config.axi_bytes // WORD_BYTES
        asked, sent = Signal(), Signal()  # the request, the beat to write, has been taken
        begun = Signal()
        low, high = (WORD_BYTES - 1).bit_length(), beat_shift(self._config)
        lane = Signal(range(max(words, 2)))
        m.d.comb += lane.eq(self.address[low:high])
        aligned = (self.address >> high) << high
        for request in (read.request, write.request):
            m.d.comb += request.payload.addr.eq(aligned)
        m.d.comb += [
            read.request.valid.eq(self.load & ~asked),
            write.request.valid.eq(self.store & ~asked),
            write.valid.eq(self.store & ~sent),
            write.data.eq(self.data.replicate(words)),
            write.last.eq(1),
            read.ready.eq(1),
            self.pending.eq(begun & ~self.finished),
        ]
        for index in range(words):
            part = slice(WORD_BYTES * index, WORD_BYTES * (index + 1))
            m.d.comb += write.strb[part].eq((lane == index).replicate(WORD_BYTES))
        with m.If(self.clear):
            m.d.sync += [asked.eq(0), sent.eq(0), begun.eq(0), self.finished.eq(0)]
        with m.Else():
            accepted = read.request.valid & read.request.ready
            accepted |= write.request.valid & write.request.ready
            m.d.sync += [
                begun.eq(self.load | self.store),
                asked.eq(asked | accepted),
                sent.eq(sent | (write.valid & write.ready)),
                self.finished.eq(self.finished | read.valid | write.response),
            ]
        with m.If(read.valid):
            m.d.sync += self.value.eq(read.data.word_select(lane, VALUE_BITS))
        return m
