"""RowNumbers: each row number of a list becomes the place of its row, in order."""

from amaranth.hdl import Mux, Signal

from formal.bench import Bench, implies
from formal.proof import Mutant, proof
from formal.sizes import NARROW
from rtl.dma_gather import RowNumbers

_BITS = 4  # of counts
_CHIP = NARROW.replace(lanes=2, line_bytes=8, sram_bytes=64)  # two numbers a line


@proof(
    RowNumbers,
    Mutant("place[ATOM_BITS:].any()", "place[ATOM_BITS]"),
    Mutant("(at == words - 1) | (left == 1)", "at == words - 1"),
    Mutant("active.eq(rest != 0)", "active.eq(1)"),
    Mutant("move.eq(~self.o.valid | self.o.ready)", "move.eq(1)"),
    depth=13,
    unbounded=False,
    quick=False,
)
def places(bench: Bench, unit: type) -> None:
    """Number n at any place of the list becomes hbm + n hstride, or the last atom where that has
    too many bits; as many as there are rows; lines are read once, in order, and nothing is left of
    them for the next list."""
    numbers = bench.add("numbers", unit(_CHIP))
    m, command, port, o = bench.m, numbers.command, numbers.port, numbers.o
    base, far = bench.symbol("base", 32), bench.symbol("far")
    rows = bench.symbol("rows", 2)
    started, read, given = bench.sticky(numbers.start), Signal(_BITS), Signal(_BITS)
    bench.assume(implies(numbers.start, ~started | (given == rows)))
    m.d.comb += [
        command.hbm.eq(base),
        command.hstride.eq(Mux(far, 1 << 23, 1)),
        command.rows.eq(rows),
        command.hplane.eq(bench.free("line", 3) * _CHIP.line_bytes),
    ]
    bench.assume(rows != 0)
    first = Signal(3)
    with m.If(numbers.start):
        m.d.sync += [first.eq(command.hplane // _CHIP.line_bytes), read.eq(0), given.eq(0)]
    with m.Else():
        m.d.sync += [
            read.eq(read + (port.valid & port.ready)),
            given.eq(given + (o.valid & o.ready)),
        ]
    row, content = bench.symbol("row", 2), bench.symbol("content", 32)
    bench.assume(row < rows)
    arriving = bench.past(port.valid & port.ready & (read == row[1:]))
    bench.assume(implies(arriving, port.data.word_select(row[0], 32) == content))
    sum_of, wanted = Signal(58), Signal(32)
    m.d.comb += [
        sum_of.eq(base + Mux(far, content << 23, content)),
        wanted.eq(Mux(sum_of >> 32 != 0, 0xFFFFFFFF, sum_of)),
    ]
    bench.prove(implies(port.valid, started & (read < (rows + 1) >> 1)))
    bench.prove(implies(port.valid, port.addr == (first + read)[:3]))
    bench.prove(bench.steady(o.valid, o.ready, o.payload))
    bench.prove(implies(o.valid, given < rows))
    bench.prove(implies(o.valid & (given == row), o.payload == wanted))
    bench.prove(implies(given == rows, ~port.valid & (read == (rows + 1) >> 1)))
    bench.reach(numbers.start & started)
    bench.reach(o.valid & (given == 2) & (row == 2) & (sum_of >> 32 != 0))
