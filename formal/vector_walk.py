"""Walker: the addresses of a vector operand against a nested loop."""

from amaranth.hdl import Mux, Signal

from formal.bench import Bench, implies
from formal.proof import Mutant, proof
from rtl.vector_walk import Walker

_BITS = 4  # of an address; they wrap


@proof(
    Walker,
    Mutant("position.eq(walk.skip)", "position.eq(0)"),
    Mutant("row_addr + Mux(self._row_is_over(m), walk.stride, 0)", "row_addr + walk.stride"),
    Mutant("Mux(self.walk.repeat == 0, 0, self.walk.repeat - 1)", "self.walk.repeat - 1"),
    Mutant("self.addr.eq(row_next + offset)", "self.addr.eq(row_next)"),
    depth=12,
    quick=False,
)
def addresses(bench: Bench, unit: type) -> None:
    """Row r begins at base + r · stride, its vectors lie `step` apart; each row is walked `repeat`
    times, from vector `skip` round to the one before it; first, last, end say where the walk is."""
    walker = bench.add("walker", unit(_BITS))
    m, walk = bench.m, walker.walk
    for name, bits in {"base": _BITS, "stride": _BITS, "repeat": 2, "rows": 3}.items():
        m.d.comb += getattr(walk, name).eq(bench.symbol(name, bits))
    last_vector, skip = bench.symbol("last_vector", 2), bench.symbol("skip", 2)
    step = bench.symbol("step", _BITS)
    m.d.comb += [
        walk.last_vector.eq(last_vector),
        walk.skip.eq(skip),
        walker.step.eq(step),
    ]
    busy, waited = Signal(), Signal(2)
    bench.assume((walk.rows != 0) & (skip <= last_vector))
    bench.assume(implies(walker.start, ~busy) & implies(walker.next, walker.valid))
    done, walks, repeats = Signal(2), Signal(3), Signal(2)  # vectors of this walk, walks, of a row
    row, place, entry, address = Signal(_BITS), Signal(2), Signal(_BITS), Signal(_BITS)
    next_row, row_over, taken = Signal(_BITS), Signal(), walker.valid & walker.next
    m.d.comb += [
        entry.eq(Mux(skip[0], step, 0) + Mux(skip[1], step << 1, 0)),
        row_over.eq(repeats + 1 >= walk.repeat),
        next_row.eq(row + Mux(row_over, walk.stride, 0)),
    ]
    with m.If(walker.start):
        m.d.sync += [busy.eq(1), waited.eq(0), done.eq(0), walks.eq(0), repeats.eq(0)]
        m.d.sync += [row.eq(walk.base), place.eq(skip), address.eq(walk.base + entry)]
    with m.Elif(taken & (done == last_vector)):
        m.d.sync += [busy.eq(walks + 1 != walk.rows), done.eq(0), walks.eq(walks + 1)]
        m.d.sync += [row.eq(next_row), place.eq(skip), address.eq(next_row + entry)]
        m.d.sync += repeats.eq(Mux(row_over, 0, repeats + 1))
    with m.Elif(taken):
        m.d.sync += [done.eq(done + 1), place.eq(place + 1), address.eq(address + step)]
        with m.If(place == last_vector):
            m.d.sync += [place.eq(0), address.eq(row)]
    with m.Elif(waited != skip):
        m.d.sync += waited.eq(waited + 1)
    bench.prove(walker.valid == (busy & (waited == skip)))
    with m.If(walker.valid):
        bench.prove(walker.addr == address)
        bench.prove(walker.first == (done == 0))
        bench.prove(walker.last == (done == last_vector))
        bench.prove(walker.end == (walker.last & (walks + 1 == walk.rows)))
    bench.reach(walker.end & taken & (skip == 1) & (last_vector == 2) & (walks == 2))
