"""RowNumbers: the places of the rows of a gather, from the list of their numbers."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from isa.rules import INDEX_BYTES
from rtl.dma import ATOM_BITS, COMMAND
from rtl.ports import ReadPort, line_address_bits
from rtl.reader import LineReader
from rtl.timing import GATHER_STAGES

_INDEX_BITS = 8 * INDEX_BYTES


class RowNumbers(wiring.Component):
    """Reads the list ahead, line by line; number n becomes atom hbm + n hstride.

    What is beyond the last atom becomes the last atom, which no memory has: `memory_atoms` is at
    most its number.

    Latency: 7 cycles from `start` to the first row; throughput one row per cycle.

    Members: `start` takes `command`; `port` to the SRAM; `o` the stream of atoms.
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "command": In(COMMAND),
                "port": Out(ReadPort(config)),
                "o": Out(stream.Signature(unsigned(ATOM_BITS))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.reader = reader = LineReader(self._config, tag_bits=1)
        wiring.connect(m, wiring.flipped(self.port), reader.port)
        self._read(m, reader)
        words = self._config.line_bytes // INDEX_BYTES
        left, at = Signal(len(self.command.rows)), Signal(range(words))
        number, stride, base = Signal(_INDEX_BITS), Signal(len(self.command.hstride)), Signal(32)
        product = Signal(len(number) + len(stride))
        place = Signal(len(product) + 1)
        stages, move, taken = Signal(GATHER_STAGES), Signal(), Signal()  # number, product, place
        m.d.comb += [
            move.eq(~self.o.valid | self.o.ready),
            taken.eq(move & reader.o.valid & (left != 0)),
            reader.o.ready.eq(taken & ((at == words - 1) | (left == 1))),
            self.o.valid.eq(stages[-1]),
            self.o.payload.eq(Mux(place[ATOM_BITS:].any(), ~0, place)),
        ]
        with m.If(move):
            m.d.sync += [
                stages.eq(stages << 1 | taken),
                number.eq(reader.o.payload.data.word_select(at, _INDEX_BITS)),
                product.eq(number * stride),
                place.eq(product + base),
            ]
        with m.If(self.start):
            m.d.sync += [
                stride.eq(self.command.hstride),
                base.eq(self.command.hbm),
                left.eq(self.command.rows),
                at.eq(0),
            ]
        with m.Elif(taken):
            m.d.sync += [left.eq(left - 1), at.eq(at + 1)]
        return m

    def _read(self, m, reader):
        """Request the lines of the list."""
        line = Signal(line_address_bits(self._config))
        shift = (self._config.line_bytes - 1).bit_length()
        index_shift = shift - (INDEX_BYTES - 1).bit_length()
        active, rest = Signal(), Signal(max(1, len(self.command.rows) - index_shift))
        m.d.comb += [reader.i.valid.eq(active), reader.i.payload.addr.eq(line)]
        with m.If(self.start):
            m.d.sync += [
                line.eq(self.command.hplane >> shift),
                rest.eq((self.command.rows - 1)[: len(self.command.rows)] >> index_shift),
                active.eq(1),
            ]
        with m.Elif(reader.i.valid & reader.i.ready):
            m.d.sync += [line.eq(line + 1), rest.eq(rest - 1), active.eq(rest != 0)]
