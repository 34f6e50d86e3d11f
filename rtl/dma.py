"""The two walks of a DMA instruction: bursts through HBM and lines through the SRAM."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from isa.table import BY_MNEMONIC, DMA
from rtl.axi import ADDRESS_BITS, LENGTH_BITS, beat_shift
from rtl.ports import command_layout, line_address_bits

COMMAND = command_layout(DMA)
ATOM_BITS = COMMAND["hbm"].width
GATHER = BY_MNEMONIC["gather"].opcode
PAGE_BYTES = 4096  # AXI bursts never cross such a boundary


def burst_layout(config: ChipConfig) -> data.StructLayout:
    """A request of `rtl.axi`, and its place in its row: whether it is the ``first`` or the ``last``
    one of it, and ``lead``, the bytes in front of the row in the row's first beat."""
    return data.StructLayout(
        {
            "addr": unsigned(ADDRESS_BITS),
            "len": unsigned(LENGTH_BITS),
            "first": unsigned(1),
            "last": unsigned(1),
            "lead": unsigned(beat_shift(config)),
        }
    )


def _row_bits(config: ChipConfig, shift: int) -> int:
    """Bits of a row's length in units of 1 << shift bytes, less one: no row is longer than the
    SRAM, and one that begins inside a unit reaches into one more."""
    return min(COMMAND["bytes"].width, config.sram_bytes.bit_length()) - shift + 1


def last_byte(command):
    """Of a row, counted from its first one."""
    return (command.bytes - 1)[: len(command.bytes)]


class _Rows:
    """Registers that say where a walk's next row begins, plane by plane; `last`: there is none."""

    def __init__(self, m: Module, bits: int):
        self._row, self._stride = Signal(bits), Signal(bits)
        self._plane, self._distance = Signal(bits), Signal(bits)
        self._rows, self._left = Signal(COMMAND["rows"].width), Signal(COMMAND["rows"].width)
        self._planes, self._plane_ends = Signal(COMMAND["planes"].width), Signal()
        self.next, self.last, next_plane = Signal(bits), Signal(), Signal(bits)
        m.d.comb += [
            self._plane_ends.eq(self._left == 1),
            next_plane.eq(self._plane + self._distance),
            self.next.eq(Mux(self._plane_ends, next_plane, self._row + self._stride)),
            self.last.eq(self._plane_ends & (self._planes[1:] == 0)),  # of gather planes is 0
        ]

    def begin(self, m: Module, command, start, stride, distance) -> None:
        """At the first row, in places of the walk's own unit."""
        m.d.sync += [
            self._row.eq(start),
            self._plane.eq(start),
            self._stride.eq(stride),
            self._distance.eq(distance),
            self._rows.eq(command.rows),
            self._left.eq(command.rows),
            self._planes.eq(command.planes),
        ]

    def advance(self, m: Module) -> None:
        """To the next row."""
        m.d.sync += [self._row.eq(self.next), self._left.eq(self._left - 1)]
        with m.If(self._plane_ends):
            m.d.sync += [
                self._plane.eq(self.next),
                self._left.eq(self._rows),
                self._planes.eq(self._planes - 1),
            ]


class BurstWalk(wiring.Component):
    """Cuts the rows of an instruction into AXI bursts, from the beat with a row's first byte to
    that with its last one.

    A burst has ``config.burst_beats`` beats, or fewer where the row or its 4 KiB page ends.

    One burst per cycle, the first one in the cycle after `start`; of gather, as rows come.

    Members: `start` takes `command`; `o` the stream of bursts; `active` until the last is taken;
    with ``gathers``, `row` is the stream of the first atoms of the rows of a gather.
    """

    def __init__(self, config: ChipConfig, gathers: bool = False):
        self._config, self._gathers = config, gathers
        row = {"row": In(stream.Signature(unsigned(ATOM_BITS)))} if gathers else {}
        super().__init__(
            {
                "start": In(1),
                "command": In(COMMAND),
                "o": Out(stream.Signature(burst_layout(config))),
                "active": Out(1),
                **row,
            }
        )

    def elaborate(self, platform):
        m = Module()
        shift = beat_shift(self._config)
        page_beats = PAGE_BYTES >> shift
        rows, command, burst = _Rows(m, ATOM_BITS), self.command, self.o.payload
        address, rest = Signal(ADDRESS_BITS - shift), Signal(_row_bits(self._config, shift))
        offset, reach = Signal(len(command.offset)), Signal(len(command.bytes))
        to_page, limit = Signal(range(page_beats + 1)), Signal(range(page_beats + 1))
        longest, beats = self._config.burst_beats, Signal(range(page_beats + 1))
        over, taken = Signal(), Signal()
        lead, first = Signal(shift), Signal()
        missing, following = Signal(), rows.next  # the place of the row at hand; the next row
        if self._gathers:
            missing, following = self._gathered(m, rows, over)

        def enter(row, offset, reach) -> None:
            """``reach``: of a row's last byte behind its first one; ``rest``: beats of the row
            behind the one at ``address``."""
            place = Cat(offset, row)
            m.d.sync += [
                address.eq(place[shift:]),
                lead.eq(place[:shift]),
                rest.eq((place[:shift] + reach) >> shift),
                first.eq(1),
            ]

        m.d.comb += [
            to_page.eq(page_beats - address[: page_beats.bit_length() - 1]),
            limit.eq(Mux(to_page < longest, to_page, longest)),
            self.o.valid.eq(self.active & ~missing),
            taken.eq(self.o.valid & self.o.ready),
            over.eq(taken & burst.last),
            burst.addr.eq(address << shift),
            burst.lead.eq(lead),
            burst.first.eq(first),
            burst.last.eq(rest < limit),
            beats.eq(Mux(burst.last, rest + 1, limit)),
            burst.len.eq(beats - 1),
        ]
        with m.If(self.start):
            rows.begin(m, command, command.hbm, command.hstride, command.hplane)
            enter(command.hbm, command.offset, last_byte(command))
            m.d.sync += [
                offset.eq(command.offset),
                reach.eq(last_byte(command)),
                self.active.eq(1),
            ]
        with m.Elif(over | missing):
            enter(following, offset, reach)
            with m.If(over):
                rows.advance(m)
                m.d.sync += self.active.eq(~rows.last)
        with m.Elif(taken):
            m.d.sync += [address.eq(address + beats), rest.eq(rest - beats), first.eq(0)]
        return m

    def _gathered(self, m, rows, over):
        """Whether the place of the row at hand is missing, and the place of the next one."""
        gather, missing, following = Signal(), Signal(), Signal(ATOM_BITS)
        m.d.comb += [
            self.row.ready.eq(gather & (over | missing)),
            following.eq(Mux(gather, self.row.payload, rows.next)),
        ]
        with m.If(self.start):
            m.d.sync += [
                gather.eq(self.command.opcode == GATHER),
                missing.eq(self.command.opcode == GATHER),
            ]
        with m.Elif(over | missing):
            m.d.sync += missing.eq(gather & ~self.row.valid)
        return missing, following


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
        rows, command = _Rows(m, line_address_bits(self._config)), self.command
        line, length = Signal(line_address_bits(self._config)), len(command.bytes) - shift
        behind, rest = Signal(length), Signal(length)  # lines behind the first one, the next one
        m.d.comb += [
            self.o.valid.eq(self.active),
            self.o.payload.eq(line),
        ]
        with m.If(self.start):
            places = (command.sram, command.sstride, command.splane)
            rows.begin(m, command, *(place >> shift for place in places))
            m.d.sync += [
                line.eq(command.sram >> shift),
                behind.eq(last_byte(command) >> shift),
                rest.eq(last_byte(command) >> shift),
                self.active.eq(1),
            ]
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += [line.eq(line + 1), rest.eq(rest - 1)]
            with m.If(rest == 0):
                rows.advance(m)
                m.d.sync += [
                    line.eq(rows.next),
                    rest.eq(behind),
                    self.active.eq(~rows.last),
                ]
        return m
