"""Fetch: what it asks of the memory."""

from amaranth.hdl import Signal

from formal.bench import Bench, implies
from formal.proof import Mutant, proof
from formal.sizes import SMALL
from isa.config import HBM_ATOM_BYTES
from isa.table import INSTRUCTION_BYTES
from rtl.fetch import BURST, DEPTH, Fetch


@proof(
    Fetch,
    Mutant("room.eq(bursts != BURSTS)", "room.eq(1)"),
    Mutant("count.eq(Mux(left < BURST, left, BURST))", "count.eq(BURST)"),
    Mutant("Cat(Const(0, _log2(BURST)), place[_log2(BURST) :])", "place"),
    depth=20,
    unbounded=False,
)
def requests(bench: Bench, unit: type) -> None:
    """Bursts lie inside as many aligned bytes as the longest one has, hence inside a page, and do
    not pass the program's end; no more are unanswered than the buffer has room for."""
    fetch = bench.add("fetch", unit(SMALL))
    m, memory, request = bench.m, fetch.memory, fetch.memory.request
    base, count = bench.symbol("base", 6), bench.symbol("count", 9)
    m.d.comb += [fetch.code_base.eq(base), fetch.code_count.eq(count)]
    bench.assume(fetch.start == ~bench.started)
    bench.assume(implies(fetch.jump, fetch.target < count))
    asked, ended = request.valid & request.ready, memory.valid & memory.ready & memory.last
    owed = bench.count(6, asked, ended)
    bench.assume(implies(memory.valid, owed != 0))
    start, size = Signal(40), Signal(12)
    m.d.comb += [
        start.eq(request.payload.addr),
        size.eq((request.payload.len + 1) * SMALL.axi_bytes),
    ]
    window = BURST * INSTRUCTION_BYTES
    with m.If(request.valid & bench.started):
        bench.prove((start % INSTRUCTION_BYTES == 0) & (size % INSTRUCTION_BYTES == 0))
        bench.prove(start % window + size <= window)
        bench.prove(start + size <= base * HBM_ATOM_BYTES + count * INSTRUCTION_BYTES)
    bench.prove(owed <= DEPTH // BURST)
    bench.reach(owed == DEPTH // BURST)
