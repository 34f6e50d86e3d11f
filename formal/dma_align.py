"""LineFiller and LineCutter: every byte of every row goes through, into its place."""

from amaranth.hdl import Cat, Signal, Value

from formal.bench import Bench, implies
from formal.proof import Mutant, proof
from formal.sizes import ALIGNING
from rtl.dma_align import LineCutter, LineFiller

_BITS = 5  # of counts
_LINE, _BEAT, _GRANULE = ALIGNING.line_bytes, ALIGNING.axi_bytes, ALIGNING.byte_vector_bytes


class Place:
    """How far the units of rows (``unit`` bytes, ``of_row`` a row) have passed a port: ``row`` and
    ``number`` in it of the next one. ``first`` bytes of a row's first one are in front of it."""

    def __init__(self, bench: Bench, taken: Value, of_row: Value, unit: int, first: Value) -> None:
        self._unit, self._first = unit, first
        self.row, self.number = Signal(_BITS), Signal(_BITS)
        with bench.m.If(taken):
            bench.m.d.sync += self.number.eq(self.number + 1)
            with bench.m.If(self.number + 1 == of_row):
                bench.m.d.sync += [self.number.eq(0), self.row.eq(self.row + 1)]

    def inside(self, size: Value) -> list[Value]:
        """For each byte of the next unit, whether it belongs to the row, which has ``size``."""
        places = [self.number * self._unit + index for index in range(self._unit)]
        return [(at >= self._first) & (at < self._first + size) for at in places]

    def holds(self, row: Value, at: Value) -> Value:
        """Whether byte ``at`` of a row is in the next unit."""
        return (self.row == row) & (self.number == (self._first + at) // self._unit)

    def byte(self, at: Value) -> Value:
        """Where in its unit byte ``at`` of a row is."""
        return (self._first + at) % self._unit


class _Rows:
    """Rows without end, all of one length and begun alike, and one byte of them, which stands for
    all: byte `at` of row `row`."""

    def __init__(self, bench: Bench, unit) -> None:
        self.size, self.lead = bench.symbol("size", 4), bench.symbol("lead")
        self.lines = (self.size + _LINE - 1) // _LINE
        self.beats = (self.lead + self.size + _BEAT - 1) // _BEAT
        self.row, self.at = bench.symbol("row", 2), bench.symbol("at", 4)
        self.content = bench.symbol("content", 8)
        self.running = bench.sticky(unit.start)
        bench.m.d.comb += [unit.command.bytes.eq(self.size), unit.lead.eq(self.lead)]
        bench.assume((self.size != 0) & (self.at < self.size))
        bench.assume(implies(self.running, ~unit.start))
        bench.assume(implies(unit.i.valid, self.running))
        bench.assume(bench.steady(unit.i.valid, unit.i.ready, unit.i.payload))


@proof(
    LineFiller,
    Mutant("alone.eq(primed & last & (self.lead <= tail))", "alone.eq(0)"),
    Mutant("places.eq(Mux(aligned, width, self.lead))", "places.eq(width)"),
    Mutant("_ones(8 * width) >> Mux(last, _bits(tail), 0)", "_ones(8 * width)"),
    Mutant("part.eq(0), rest", "part.eq(part + 1), rest"),
    depth=10,
    unbounded=False,
)
def filler(bench: Bench, unit: type) -> None:
    """Lines hold the rows' bytes in order, zeros up to the granule's end, and nothing behind it;
    they stay until taken; no beat is taken too much."""
    filler = bench.add("filler", unit(ALIGNING))
    rows, i, o = _Rows(bench, filler), filler.i, filler.o
    beats = Place(bench, i.valid & i.ready, rows.beats, _BEAT, rows.lead)
    lines = Place(bench, o.valid & o.ready, rows.lines, _LINE, Value.cast(0))
    arrives = i.valid & beats.holds(rows.row, rows.at)
    bench.assume(implies(arrives, i.payload.word_select(beats.byte(rows.at), 8) == rows.content))
    data, inside = o.payload.data, lines.inside(rows.size)
    leaves = o.valid & lines.holds(rows.row, rows.at)
    bench.prove(implies(leaves, data.word_select(lines.byte(rows.at), 8) == rows.content))
    for index, belongs in enumerate(inside):
        bit = o.payload.mask[index // _GRANULE]
        bench.prove(implies(o.valid, bit == inside[index // _GRANULE * _GRANULE]))
        bench.prove(implies(o.valid & bit & ~belongs, data.word_select(index, 8) == 0))
    bench.prove(bench.steady(o.valid, o.ready, Cat(data, o.payload.mask)))
    # A row's last line is offered when its last beat, and none behind it, has been taken.
    last = o.valid & (lines.number + 1 == rows.lines)
    bench.prove(implies(last, beats.row > lines.row))
    bench.prove(beats.row <= lines.row + 1 + o.valid)
    bench.reach(leaves & (rows.row == 1) & (rows.size == 5) & (rows.lead == 1))


@proof(
    LineCutter,
    Mutant("needs.eq(~self.last | (self.lead <= tail))", "needs.eq(1)"),
    Mutant("places.eq(width - self.lead)", "places.eq(width)"),
    Mutant("behind.eq(tail - self.lead)", "behind.eq(tail)"),
    Mutant("Mux(self.last, 0, part + 1)", "part + 1"),
    depth=10,
)
def cutter(bench: Bench, unit: type) -> None:
    """Beats hold the rows' bytes in order, with strobes for just these; what is offered stays; a
    row takes its lines and no more."""
    cutter = bench.add("cutter", unit(ALIGNING))
    rows, i, o = _Rows(bench, cutter), cutter.i, cutter.o
    beat = o.valid & o.ready & rows.running
    beats = Place(bench, beat, rows.beats, _BEAT, rows.lead)
    lines = Place(bench, i.valid & i.ready, rows.lines, _LINE, Value.cast(0))
    bench.m.d.comb += [
        cutter.first.eq(beats.number == 0),
        cutter.last.eq(beats.number + 1 == rows.beats),
    ]
    bench.assume(implies(~rows.running, ~o.ready))
    arrives = i.valid & lines.holds(rows.row, rows.at)
    bench.assume(implies(arrives, i.payload.word_select(lines.byte(rows.at), 8) == rows.content))
    offered, leaves = o.valid & rows.running, beats.holds(rows.row, rows.at)
    data, strobes = o.payload.data, o.payload.strb
    mine = data.word_select(beats.byte(rows.at), 8)
    bench.prove(implies(offered & leaves, mine == rows.content))
    bench.prove(implies(offered, strobes == Cat(beats.inside(rows.size))))
    bench.prove(bench.steady(offered, o.ready, Cat(data, strobes)))
    bench.prove(implies(beats.number == 0, (lines.number == 0) & (lines.row == beats.row)))
    bench.reach(offered & leaves & (rows.row == 2) & (rows.size == 5) & (rows.lead == 1))
