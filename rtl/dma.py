"""The two walks of a DMA instruction: bursts through HBM and lines through the SRAM."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.table import DMA
from rtl.axi import ADDRESS_BITS, REQUEST, beat_shift
from rtl.ports import command_layout, line_address_bits

COMMAND = command_layout(DMA)
PAGE_BYTES = 4096  # AXI bursts never cross such a boundary
_ATOM_SHIFT = (HBM_ATOM_BYTES - 1).bit_length()


def _row_bits(config: ChipConfig, shift: int) -> int:
    """Bits of a row's length in units of 1 << shift bytes: no row is longer than the SRAM."""
    return min(COMMAND["bytes"].width, config.sram_bytes.bit_length()) - shift


class BurstWalk(wiring.Component):
    """Cuts the rows of an instruction into AXI bursts.

    A burst has ``config.burst_beats`` beats, or fewer where the row or its 4 KiB page ends.

    One burst per cycle, the first one in the cycle after `start`.

    Members: `start` takes `command`; `o` the stream of bursts; `active` until the last is taken.
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "command": In(COMMAND),
                "o": Out(stream.Signature(REQUEST)),
                "active": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shift = beat_shift(self._config)
        page_beats = PAGE_BYTES >> shift
        length = _row_bits(self._config, shift)
        row, stride = Signal(32), Signal(len(self.command.hstride))
        rows, row_beats = Signal(len(self.command.rows)), Signal(length)
        address, left = Signal(ADDRESS_BITS - shift), Signal(length)  # in beats
        to_page, limit = Signal(range(page_beats + 1)), Signal(range(page_beats + 1))
        beats, row_over, next_row = Signal(range(page_beats + 1)), Signal(), Signal(32)
        longest = self._config.burst_beats
        m.d.comb += [
            to_page.eq(page_beats - address[: page_beats.bit_length() - 1]),
            limit.eq(Mux(to_page < longest, to_page, longest)),
            row_over.eq(left <= limit),
            beats.eq(Mux(row_over, left, limit)),
            next_row.eq(row + stride),
            self.o.valid.eq(self.active),
            self.o.payload.addr.eq(address << shift),
            self.o.payload.len.eq(beats - 1),
        ]
        with m.If(self.start):
            m.d.sync += [
                row.eq(self.command.hbm),
                stride.eq(self.command.hstride),
                rows.eq(self.command.rows),
                row_beats.eq(self.command.bytes >> shift),
                left.eq(self.command.bytes >> shift),
                address.eq((self.command.hbm << _ATOM_SHIFT) >> shift),
                self.active.eq(1),
            ]
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += [address.eq(address + beats), left.eq(left - beats)]
            with m.If(row_over):
                m.d.sync += [
                    row.eq(next_row),
                    address.eq((next_row << _ATOM_SHIFT) >> shift),
                    left.eq(row_beats),
                    rows.eq(rows - 1),
                    self.active.eq(rows != 1),
                ]
        return m


class LineWalk(wiring.Component):
    """The SRAM lines of an instruction in order; their numbers wrap at the SRAM's end.

    One line per cycle, the first one in the cycle after `start`.

    Members: `start` takes `command`; `o` the stream of line numbers; `active` until the last is
    taken.
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "command": In(COMMAND),
                "o": Out(stream.Signature(unsigned(line_address_bits(config)))),
                "active": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shift = (self._config.line_bytes - 1).bit_length()
        bits = line_address_bits(self._config)
        row, stride, line = Signal(bits), Signal(bits), Signal(bits)
        rows, length = Signal(len(self.command.rows)), len(self.command.bytes) - shift
        row_lines, left = Signal(length), Signal(length)
        next_row = Signal(bits)
        m.d.comb += [
            next_row.eq(row + stride),
            self.o.valid.eq(self.active),
            self.o.payload.eq(line),
        ]
        with m.If(self.start):
            m.d.sync += [
                row.eq(self.command.sram >> shift),
                line.eq(self.command.sram >> shift),
                stride.eq(self.command.sstride >> shift),
                rows.eq(self.command.rows),
                row_lines.eq(self.command.bytes >> shift),
                left.eq(self.command.bytes >> shift),
                self.active.eq(1),
            ]
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += [line.eq(line + 1), left.eq(left - 1)]
            with m.If(left == 1):
                m.d.sync += [
                    row.eq(next_row),
                    line.eq(next_row),
                    left.eq(row_lines),
                    rows.eq(rows - 1),
                    self.active.eq(rows != 1),
                ]
        return m
