"""BurstWalk and LineWalk: a DMA instruction's rows, whole, once and in order."""

from typing import NamedTuple

from amaranth.hdl import Mux, Signal, Value
from amaranth.lib.data import View

from formal.bench import Bench, implies
from formal.proof import Mutant, proof
from formal.sizes import SMALL
from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.table import BY_MNEMONIC
from rtl.dma import PAGE_BYTES, BurstWalk, LineWalk

_WIDE = SMALL.replace(line_bytes=64, sram_bytes=1 << 12, axi_bytes=32)


def free_rows(
    bench: Bench, config: ChipConfig, command: View, row_bits: int, gather: bool = False
) -> None:
    """Any command of up to 3 planes of up to 3 rows, each of less than 2^``row_bits`` lines of
    bytes, in 8 pages."""
    line = config.line_bytes
    bench.m.d.comb += [
        command.hbm.eq(bench.free("hbm", 9)),
        command.hstride.eq(bench.free("hstride", 7)),
        command.hplane.eq(bench.free("hplane", 7)),
        command.offset.eq(bench.free("offset", 6)),
        command.sram.eq(bench.free("sram", 6) * line),
        command.sstride.eq(bench.free("sstride", 6) * line),
        command.splane.eq(bench.free("splane", 6) * line),
        command.rows.eq(bench.free("rows", 2)),
        command.planes.eq(0 if gather else bench.free("planes", 2)),
        command.opcode.eq(BY_MNEMONIC["gather" if gather else "load"].opcode),
        command.bytes.eq(bench.free("bytes", row_bits + (line - 1).bit_length())),
    ]
    bench.assume((command.rows != 0) & (command.bytes != 0))
    if not gather:
        bench.assume(command.planes != 0)


class _Units(NamedTuple):
    """What rows are counted off in: ``unit`` bytes. Places of rows have ``bits`` bits and are in
    pieces of ``piece`` bytes; ``row_bits``: of the number of a row's last unit, as the walk has."""

    unit: int
    piece: int
    bits: int
    row_bits: int


_BEATS = _Units(
    _WIDE.axi_bytes, HBM_ATOM_BYTES, 32, (_WIDE.sram_bytes // _WIDE.axi_bytes).bit_length() + 1
)
_LINES = _Units(
    _WIDE.line_bytes, _WIDE.line_bytes, (_WIDE.sram_lines - 1).bit_length(), 20 - 6
)  # the whole field


class _Rows:
    """The rows of the command that ``start`` brings, counted off in units as they are taken.

    ``places``: of the first row, distances of rows and of planes; ``offset``: a row's first byte
    behind its place; ``moved``: units taken with the walk's next step.

    ``number``: of the next unit, ``left``: units of the row from there on; ``lead``: bytes of the
    row's first unit in front of it; ``first``: it is that unit; ``busy``: there is a next unit;
    ``row_ends``: the last ones of a row are taken.

    Registers hold what the walks' own hold, in as many bits: so the solver finds them equal even
    where the assumptions fail, and the proof closes.
    """

    def __init__(self, bench: Bench, walk, units: _Units, places, moved, offset) -> None:
        self._m, self._unit, self._pieces = bench.m, units.unit, units.piece // units.unit
        bits, row_bits = units.bits, units.row_bits
        command, taken = walk.command, walk.o.valid & walk.o.ready
        self.number, self.left = (
            Signal(bits + (self._pieces - 1).bit_length()),
            Signal(row_bits + 1),
        )
        self._behind = Signal(row_bits)  # the next unit
        self.lead, self.first, self.busy = Signal(range(units.unit)), Signal(), Signal()
        row, plane, place = Signal(bits), Signal(bits), Signal(bits)
        stride, distance, new_plane = Signal(bits), Signal(bits), Signal()
        rows, rows_left, planes = Signal(16), Signal(16), Signal(13)
        held_offset, reach = Signal(len(offset)), Signal(20)
        bench.assume(implies(walk.start, ~self.busy))
        self.row_ends = taken & (moved == self.left)
        bench.m.d.comb += [
            new_plane.eq(rows_left == 1),
            place.eq(Mux(new_plane, plane + distance, row + stride)),
            self.left.eq(self._behind + 1),
        ]
        with bench.m.If(walk.start):
            self._enter(places[0], offset, (command.bytes - 1)[:20])
            bench.m.d.sync += [
                row.eq(places[0]),
                plane.eq(places[0]),
                stride.eq(places[1]),
                distance.eq(places[2]),
                rows.eq(command.rows),
                rows_left.eq(command.rows),
                planes.eq(command.planes),
                held_offset.eq(offset),
                reach.eq(command.bytes - 1),
                self.busy.eq(1),
            ]
        with bench.m.Elif(self.row_ends):
            self._enter(place, held_offset, reach)
            bench.m.d.sync += [
                row.eq(place),
                rows_left.eq(rows_left - 1),
                self.busy.eq(~new_plane | (planes > 1)),
            ]
            with bench.m.If(new_plane):
                bench.m.d.sync += [plane.eq(place), rows_left.eq(rows), planes.eq(planes - 1)]
        with bench.m.Elif(taken):
            bench.m.d.sync += [
                self.number.eq(self.number + moved),
                self._behind.eq(self._behind - moved),
                self.first.eq(0),
            ]

    def _enter(self, place: Value, offset: Value, reach: Value) -> None:
        lead = offset % self._unit
        self._m.d.sync += [
            self.number.eq(place * self._pieces + offset // self._unit),
            self.lead.eq(lead),
            self._behind.eq((lead + reach) // self._unit),
            self.first.eq(1),
        ]


def _claim_bursts(bench: Bench, walk: BurstWalk, config: ChipConfig, rows: _Rows) -> None:
    """Each burst is the next beats of the row, as many as may be."""
    burst, beats = walk.o.payload, Signal(9)
    bench.m.d.comb += beats.eq(burst.len + 1)
    to_page = Signal(13)
    bench.m.d.comb += to_page.eq((PAGE_BYTES - burst.addr % PAGE_BYTES) // config.axi_bytes)
    bench.prove(bench.steady(walk.o.valid, walk.o.ready, burst))
    with bench.m.If(walk.o.valid):
        bench.prove(burst.addr == rows.number * config.axi_bytes)
        bench.prove((beats <= config.burst_beats) & (beats <= to_page) & (beats <= rows.left))
        bench.prove((beats == config.burst_beats) | (beats == to_page) | (beats == rows.left))
        bench.prove(burst.last == (beats == rows.left))
        bench.prove((burst.first == rows.first) & (burst.lead == rows.lead))
    cut = walk.o.valid & (beats == to_page) & (beats < config.burst_beats)
    bench.reach(cut & (beats != rows.left))


@proof(
    BurstWalk,
    Mutant("limit.eq(Mux(to_page < longest, to_page, longest))", "limit.eq(longest)"),
    Mutant("burst.last.eq(rest < limit)", "burst.last.eq(rest <= limit)"),
    Mutant("Mux(self._plane_ends, next_plane,", "Mux(0, next_plane,"),
    Mutant("rest.eq((place[:shift] + reach) >> shift)", "rest.eq(reach >> shift)"),
    depth=8,
)
def bursts(bench: Bench, unit: type) -> None:
    """Bursts cover the rows from the beat with the first byte to that with the last one; none
    crosses 4 KiB, none is longer than the chip's longest, and none is shorter than it could be."""
    walk = bench.add("walk", unit(_WIDE))
    free_rows(bench, _WIDE, walk.command, row_bits=4)
    command, beats = walk.command, Signal(9)
    bench.m.d.comb += beats.eq(walk.o.payload.len + 1)
    places = command.hbm, command.hstride, command.hplane
    rows = _Rows(bench, walk, _BEATS, places, beats, command.offset)
    bench.prove(walk.active == rows.busy)
    bench.prove(walk.o.valid == rows.busy)
    _claim_bursts(bench, walk, _WIDE, rows)
    bench.reach(rows.row_ends & bench.past(rows.row_ends) & (beats < _WIDE.burst_beats))


@proof(
    BurstWalk,
    Mutant("gather & (over | missing)", "gather & missing"),
    Mutant("missing.eq(gather & ~self.row.valid)", "missing.eq(0)"),
    Mutant("enter(following, offset, reach)", "enter(rows.next, offset, reach)"),
    depth=8,
)
def gathered(bench: Bench, unit: type) -> None:
    """Of a gather each row that comes is cut like any other, as soon as the one before is."""
    walk = bench.add("walk", unit(_WIDE, gathers=True))
    m, command, row = bench.m, walk.command, walk.row
    free_rows(bench, _WIDE, command, row_bits=4, gather=True)
    rows, beats = _Gathered(bench, walk, row), Signal(9)
    m.d.comb += beats.eq(walk.o.payload.len + 1)
    comes, ends = row.valid & row.ready, walk.o.valid & walk.o.ready & (beats == rows.left)
    rows.follow(comes, ends, beats)
    wanted = ~rows.there | ends
    bench.assume(implies(row.valid, rows.to_come != 0))
    bench.assume(implies(walk.start, ~rows.busy))
    bench.prove(implies(row.valid & rows.busy, row.ready == wanted))
    bench.prove(walk.active == rows.busy)
    bench.prove(walk.o.valid == rows.there)
    _claim_bursts(bench, walk, _WIDE, rows)
    bench.reach(ends & bench.past(ends) & comes)


class _Gathered:
    """The row at hand, if it is ``there``, and how many are ``to_come``; as `_Rows` otherwise."""

    def __init__(self, bench: Bench, walk, row) -> None:
        self._m, self._walk, self._row = bench.m, walk, row
        self.there, self.busy, self.first = Signal(), Signal(), Signal()
        self.number, self.left = Signal(_BEATS.bits + 1), Signal(_BEATS.row_bits + 1)
        self.lead, self.to_come, self._rows = Signal(5), Signal(16), Signal(16)

    def follow(self, comes: Value, ends: Value, beats: Value) -> None:
        """``comes``: another row; ``ends``: the last beats of the row at hand are taken."""
        m, command = self._m, self._walk.command
        offset, size, lead = Signal(6), Signal(20), Signal(5)
        m.d.comb += lead.eq(offset)
        with m.If(self._walk.start):
            m.d.sync += [
                offset.eq(command.offset),
                size.eq(command.bytes),
                self.to_come.eq(command.rows),
                self._rows.eq(command.rows),
                self.there.eq(0),
                self.busy.eq(1),
            ]
        with m.Else():
            with m.If(ends):
                m.d.sync += [self.there.eq(0), self._rows.eq(self._rows - 1)]
                m.d.sync += self.busy.eq(self._rows != 1)
            with m.Elif(self._walk.o.valid & self._walk.o.ready):
                m.d.sync += [self.number.eq(self.number + beats), self.left.eq(self.left - beats)]
                m.d.sync += self.first.eq(0)
            with m.If(comes):
                m.d.sync += [
                    self.there.eq(1),
                    self.to_come.eq(self.to_come - 1),
                    self.number.eq(self._row.payload * 2 + offset // 32),
                    self.left.eq((lead + size + 31) // 32),
                    self.lead.eq(lead),
                    self.first.eq(1),
                ]


@proof(
    LineWalk,
    Mutant("with m.If(rest == 0):", "with m.If(rest == 1):"),
    Mutant("rest.eq(behind)", "rest.eq(2)"),
    Mutant("line.eq(rows.next)", "line.eq(line + 1)"),
    Mutant("self._plane.eq(self.next)", "self._plane.eq(self._plane)"),
    depth=8,
)
def lines(bench: Bench, unit: type) -> None:
    """Each line of each row, once, in order; numbers wrap at the SRAM's end."""
    walk = bench.add("walk", unit(_WIDE))
    command, size = walk.command, _WIDE.line_bytes
    free_rows(bench, _WIDE, command, row_bits=4)
    places = [place // size for place in (command.sram, command.sstride, command.splane)]
    rows = _Rows(bench, walk, _LINES, places, Value.cast(1), Value.cast(0))
    bench.prove(walk.active == rows.busy)
    bench.prove(walk.o.valid == rows.busy)
    bench.prove(bench.steady(walk.o.valid, walk.o.ready, walk.o.payload))
    bench.prove(implies(walk.o.valid, walk.o.payload == rows.number))
    bench.reach(rows.row_ends & (rows.left == 1) & bench.past(bench.past(rows.row_ends)))
