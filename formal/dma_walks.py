"""BurstWalk and LineWalk: a DMA instruction's rows, whole, once and in order."""

from amaranth.hdl import Signal, Value
from amaranth.lib.data import View

from formal.bench import Bench, implies
from formal.proof import Mutant, proof
from formal.sizes import SMALL
from isa.config import HBM_ATOM_BYTES, ChipConfig
from rtl.axi import ADDRESS_BITS
from rtl.dma import PAGE_BYTES, BurstWalk, LineWalk

_WIDE = SMALL.replace(line_bytes=64, sram_bytes=1 << 12, axi_bytes=32)


def free_rows(bench: Bench, config: ChipConfig, command: View, row_bits: int) -> None:
    """Any legal command of up to 3 rows, each of less than 2^``row_bits`` lines, in 8 pages."""
    line = config.line_bytes
    bench.m.d.comb += [
        command.hbm.eq(bench.free("hbm", 9)),
        command.hstride.eq(bench.free("hstride", 7)),
        command.sram.eq(bench.free("sram", 6) * line),
        command.sstride.eq(bench.free("sstride", 6) * line),
        command.rows.eq(bench.free("rows", 2)),
        command.bytes.eq(bench.free("row_lines", row_bits) * line),
    ]
    bench.assume((command.rows != 0) & (command.bytes != 0))


class _Rows:
    """The rows of the command that ``start`` brings, counted off in bytes as they are taken.

    ``address``: the next byte, of memory or of the SRAM; ``left``: bytes of the row from there on;
    ``busy``: there is a next byte; ``row_ends``: the last bytes of a row are being taken.
    """

    def __init__(self, bench: Bench, walk, base: Value, stride: Value, moved: Value) -> None:
        command, taken = walk.command, walk.o.valid & walk.o.ready
        self.address, self.left, self.busy = Signal(ADDRESS_BITS), Signal(20), Signal()
        row, rows, distance, size = Signal(ADDRESS_BITS), Signal(16), Signal(24 + 6), Signal(20)
        bench.assume(implies(walk.start, ~self.busy))
        self.row_ends = taken & (moved == self.left)
        with bench.m.If(walk.start):
            bench.m.d.sync += [
                row.eq(base),
                distance.eq(stride),
                rows.eq(command.rows),
                size.eq(command.bytes),
                self.address.eq(base),
                self.left.eq(command.bytes),
                self.busy.eq(1),
            ]
        with bench.m.Elif(self.row_ends):
            bench.m.d.sync += [
                row.eq(row + distance),
                self.address.eq(row + distance),
                self.left.eq(size),
                rows.eq(rows - 1),
                self.busy.eq(rows != 1),
            ]
        with bench.m.Elif(taken):
            bench.m.d.sync += [
                self.address.eq(self.address + moved),
                self.left.eq(self.left - moved),
            ]


@proof(
    BurstWalk,
    Mutant("limit.eq(Mux(to_page < longest, to_page, longest))", "limit.eq(longest)"),
    Mutant("row_over.eq(left <= limit)", "row_over.eq(left < limit)"),
    Mutant("address.eq((next_row << _ATOM_SHIFT) >> shift)", "address.eq(address + beats)"),
    Mutant("row_beats.eq(self.command.bytes >> shift)", "row_beats.eq(self.command.bytes)"),
    depth=8,
)
def bursts(bench: Bench, unit: type) -> None:
    """Bursts cover the rows, byte by byte; none crosses 4 KiB, none is longer than the chip's
    longest, and none is shorter than it could be."""
    walk = bench.add("walk", unit(_WIDE))
    command, burst = walk.command, walk.o.payload
    free_rows(bench, _WIDE, command, row_bits=4)
    size = Signal(14)
    bench.m.d.comb += size.eq((burst.len + 1) * _WIDE.axi_bytes)
    atom = HBM_ATOM_BYTES
    rows = _Rows(bench, walk, command.hbm * atom, command.hstride * atom, size)
    longest = _WIDE.burst_beats * _WIDE.axi_bytes
    to_page = PAGE_BYTES - burst.addr % PAGE_BYTES
    bench.prove(walk.active == rows.busy)
    bench.prove(walk.o.valid == rows.busy)
    bench.prove(bench.steady(walk.o.valid, walk.o.ready, burst))
    with bench.m.If(walk.o.valid):
        bench.prove(burst.addr == rows.address)
        bench.prove((size <= longest) & (size <= to_page) & (size <= rows.left))
        bench.prove((size == longest) | (size == to_page) | (size == rows.left))
    bench.reach(rows.row_ends & bench.past(rows.row_ends) & (size < longest))
    bench.reach(walk.o.valid & (size == to_page) & (size < longest) & (size != rows.left))


@proof(
    LineWalk,
    Mutant("with m.If(left == 1):", "with m.If(left == 2):"),
    Mutant("left.eq(row_lines)", "left.eq(2)"),
    Mutant("line.eq(next_row)", "line.eq(line + 1)"),
    depth=8,
)
def lines(bench: Bench, unit: type) -> None:
    """Each line of each row, once, in order; numbers wrap at the SRAM's end."""
    walk = bench.add("walk", unit(_WIDE))
    command, size = walk.command, _WIDE.line_bytes
    free_rows(bench, _WIDE, command, row_bits=4)
    rows = _Rows(bench, walk, command.sram, command.sstride, size)
    bench.prove(walk.active == rows.busy)
    bench.prove(walk.o.valid == rows.busy)
    bench.prove(bench.steady(walk.o.valid, walk.o.ready, walk.o.payload))
    line = (rows.address // size)[: len(walk.o.payload)]
    bench.prove(implies(walk.o.valid, walk.o.payload == line))
    bench.reach(rows.row_ends & (rows.left == size) & bench.past(bench.past(rows.row_ends)))
