"""LineReader: the line of each address, with its tag, in order; no more than there is room for."""

from formal.bench import Bench, implies
from formal.follow import follow
from formal.proof import Mutant, proof
from formal.sizes import NARROW
from rtl.reader import LineReader

_TAG_BITS = 2


@proof(
    LineReader,
    Mutant("free.eq(taken != self._depth)", "free.eq(~lines.level[2])"),
    Mutant(":].eq(tag)", ":].eq(self.i.payload.tag)"),
    Mutant("self.idle.eq(taken == 0)", "self.idle.eq(~lines.r_rdy)"),
    depth=12,
    quick=False,
)
def order(bench: Bench, unit: type) -> None:
    """A request's line is what the port shows in the cycle after its acceptance.

    Lines and tags leave in the order of their requests, and stay offered until taken.
    """
    reader = bench.add("reader", unit(NARROW, _TAG_BITS))
    port, i, o = reader.port, reader.i, reader.o
    accepted = i.valid & i.ready
    line = follow(bench, accepted, o.valid & o.ready, bits=4)
    content = bench.symbol("content", len(port.data))
    tag = bench.symbol("tag", _TAG_BITS)
    bench.assume(implies(line.enters, i.payload.tag == tag))
    bench.assume(implies(bench.past(line.enters), port.data == content))
    bench.prove(implies(line.first & o.valid, (o.payload.data == content) & (o.payload.tag == tag)))
    bench.prove(bench.steady(o.valid, o.ready, o.payload))
    bench.prove(accepted == (port.valid & port.ready))
    bench.prove(implies(accepted, port.addr == i.payload.addr))
    bench.prove(reader.idle == (line.items == 0))
    bench.prove(implies(o.valid, line.items != 0))
    bench.reach(line.first & o.valid & (line.items == 4))


@proof(
    LineReader,
    Mutant("arriving.eq(accepted)", "arriving.eq(accepted & ~arriving)"),
    Mutant("free.eq(taken != self._depth)", "free.eq(taken < self._depth - 1)"),
    depth=12,
)
def pace(bench: Bench, unit: type) -> None:
    """A line is offered two cycles after its request, if it is first; requests are never refused by
    the reader itself while the consumer takes lines."""
    reader = bench.add("reader", unit(NARROW, _TAG_BITS))
    port, i, o = reader.port, reader.i, reader.o
    accepted, left = i.valid & i.ready, o.valid & o.ready
    items = bench.count(4, accepted, left)
    settled = bench.count(4, bench.past(accepted), left)  # those that have had time to arrive
    bench.prove(o.valid == (settled != 0))
    bench.prove(port.valid == (i.valid & (items != 4)))
    bench.reach(items == 4)
