"""LoadDma and StoreDma behind their multiplexers: what the memory and the SRAM see of them."""

from amaranth.hdl import Cat, Mux, Signal
from amaranth.lib import wiring

from formal.bench import Bench, implies
from formal.clients import WriteBursts
from formal.dma_align import Place
from formal.dma_walks import free_rows
from formal.proof import Mutant, proof
from formal.sizes import ALIGNING
from rtl.axi_mux import ReadMux, WriteMux
from rtl.dma_load import LoadDma
from rtl.dma_store import StoreDma

_BITS = 5  # of counts of beats, lines and bursts
_ROW_BITS = 1
_BEAT = ALIGNING.axi_bytes


class _Command:
    """One command, offered from the first cycle on, no gather. ``rows``; ``lines``, ``beats``,
    ``size``: of a row; ``lead``: bytes in front of a row in its first beat. With ``overlaps`` the
    engine may be ready while it is busy."""

    def __init__(self, bench: Bench, engine: wiring.Component, overlaps: bool = False) -> None:
        payload, m = engine.command.payload, bench.m
        free_rows(bench, ALIGNING, payload, _ROW_BITS)
        bench.assume(payload.planes == 1)  # others are the walks' business
        started = engine.command.valid & engine.command.ready
        self.busy, self.lead, self.size = Signal(), Signal(1), Signal(_BITS)
        self.rows, self.lines, self.beats = (Signal(_BITS) for _ in range(3))
        m.d.sync += self.busy.eq((self.busy | started) & ~engine.done)
        lead = payload.offset % _BEAT
        with m.If(started):
            m.d.sync += [
                self.rows.eq(payload.rows),
                self.lines.eq((payload.bytes + ALIGNING.line_bytes - 1) // ALIGNING.line_bytes),
                self.beats.eq((lead + payload.bytes + _BEAT - 1) // _BEAT),
                self.lead.eq(lead),
                self.size.eq(payload.bytes),
            ]
        bench.assume(implies(bench.sticky(started), ~engine.command.valid))
        bench.prove(implies(~self.busy, engine.command.ready))
        if not overlaps:
            bench.prove(implies(self.busy, ~engine.command.ready))
        bench.prove(implies(engine.done, self.busy))


def _claim_burst(bench: Bench, valid, address, length) -> None:
    """No burst is longer than the longest or leaves its page."""
    last = address[:12] + (length + 1) * _BEAT - 1
    bench.prove(implies(valid, (length < ALIGNING.burst_beats) & (last < 4096)))


@proof(
    StoreDma,
    Mutant("memory.last.eq(count == burst.len)", "memory.last.eq(count == 1)"),
    Mutant("(waiting == 0)", "1"),
    Mutant("request.valid.eq(room & ~sent)", "request.valid.eq(room)"),
    Mutant("cutter.first.eq(burst.first & (count == 0))", "cutter.first.eq(count == 0)"),
    Mutant("(waiting != most)", "1"),
    depth=12,
    unbounded=False,
    quick=False,
)
def store(bench: Bench, unit: type) -> None:
    """Every burst has its beats, `wlast` on the last one; offers are steady; the beats are the
    lines' bytes, in the order of their reads, from any byte on, with the strobes of the rows; at
    most `store_bursts` are unanswered; `done` comes when the memory has all and has said so."""
    engine, mux = bench.add("store", unit(ALIGNING)), bench.add("mux", WriteMux(ALIGNING))
    m, axi, port = bench.m, mux.axi, engine.port
    wiring.connect(m, engine.memory, mux.store)
    command = _Command(bench, engine)
    WriteBursts(bench, engine.memory, bench.prove)
    bench.assume(~mux.scalar.request.valid & ~mux.scalar.valid)
    address, beat = axi.awvalid & axi.awready, axi.wvalid & axi.wready
    bench.prove(bench.steady(axi.awvalid, axi.awready, Cat(axi.awaddr, axi.awlen)))
    bench.prove(bench.steady(axi.wvalid, axi.wready, Cat(axi.wdata, axi.wlast)))
    _claim_burst(bench, axi.awvalid, axi.awaddr, axi.awlen)
    # A burst's address and beats go side by side, so that at most one burst is half sent.
    sent, over = bench.count(_BITS, address), bench.count(_BITS, beat & axi.wlast)
    bench.prove((sent == over) | (sent == over + 1) | (sent + 1 == over))
    length, in_burst = Signal(8), Signal(8)
    with m.If(address):
        m.d.sync += length.eq(axi.awlen)
    with m.If(beat):
        m.d.sync += in_burst.eq((in_burst + 1) & (~axi.wlast).replicate(8))
    with m.If(axi.wvalid & axi.awvalid):
        bench.prove(axi.wlast == (in_burst == axi.awlen))
    with m.Elif(axi.wvalid):
        bench.prove((sent == over + 1) & (axi.wlast == (in_burst == length)))
    # The memory acknowledges what it has got, in any later cycle.
    acknowledged = bench.count(_BITS, axi.bvalid)
    bench.assume(implies(axi.bvalid, (axi.bid == 1) & (acknowledged != sent)))
    bench.assume(implies(axi.bvalid, acknowledged != over))
    begun = Signal(_BITS)
    m.d.comb += begun.eq(Mux(sent > over, sent, over))
    bench.prove(begun - acknowledged <= ALIGNING.store_bursts)
    lines = Place(bench, port.valid & port.ready, command.lines, ALIGNING.line_bytes, 0)
    beats = Place(bench, beat, command.beats, _BEAT, command.lead)
    bench.prove(implies(axi.wvalid, axi.wstrb == Cat(beats.inside(command.size))))
    moved = (lines.row == command.rows) & (beats.row == command.rows)
    all_over = moved & (lines.number == 0) & (beats.number == 0) & (acknowledged == over)
    bench.prove(implies(engine.done, all_over & (sent == over)))
    bench.reach(engine.done & (command.rows == 2) & (command.beats == 3) & (command.lead == 1))


@proof(
    LoadDma,
    Mutant("(flying != self._config.load_bursts) & ready", "ready"),
    Mutant("self.memory.ready.eq(filler.i.ready & ~early)", "self.memory.ready.eq(1)"),
    Mutant("held.eq(command.offset)", "held.eq(0)"),
    Mutant("self.done.eq(busy & ~addresses.active)", "self.done.eq(busy & ~bursts.active)"),
    depth=12,
    unbounded=False,
    quick=False,
)
def load(bench: Bench, unit: type) -> None:
    """At most `load_bursts` bursts are unanswered; the lines written are the beats' bytes, in
    their order, from any byte on, with zeros behind a row and nothing behind its last granule;
    writes are steady until accepted; `done` comes when every line is written."""
    engine, mux = bench.add("load", unit(ALIGNING)), bench.add("mux", ReadMux(ALIGNING))
    axi, port = mux.axi, engine.port
    wiring.connect(bench.m, engine.memory, mux.load)
    command = _Command(bench, engine, overlaps=True)
    for other in (mux.scalar, mux.fetch):
        bench.assume(~other.request.valid)
    _claim_burst(bench, axi.arvalid, axi.araddr, axi.arlen)
    bench.prove(bench.steady(axi.arvalid, axi.arready, Cat(axi.araddr, axi.arlen)))
    # The memory answers with the beats asked for, in order, at any time.
    asked, beat = axi.arvalid & axi.arready, axi.rvalid & axi.rready
    promised = bench.count(_BITS, (axi.arlen + 1) & asked.replicate(_BITS), beat)
    bench.assume(axi.rid == 2)
    bench.assume(implies(axi.rvalid, promised != 0))
    bench.assume(bench.steady(axi.rvalid, axi.rready, Cat(axi.rdata, axi.rlast)))
    lengths = _Lengths(bench, asked, axi.arlen, beat)
    bench.assume(implies(axi.rvalid, axi.rlast == lengths.last))
    bench.prove(lengths.bursts <= ALIGNING.load_bursts)
    beats = Place(bench, beat, command.beats, _BEAT, command.lead)
    lines = Place(bench, port.valid & port.ready, command.lines, ALIGNING.line_bytes, 0)
    inside = lines.inside(command.size)
    for granule, bit in enumerate(port.mask):
        first = inside[granule * ALIGNING.byte_vector_bytes]
        bench.prove(implies(port.valid, bit == first))
    bench.prove(bench.steady(port.valid, port.ready, Cat(port.addr, port.data, port.mask)))
    # No beat is lost: two whole lines wait at most.
    parts = ALIGNING.line_bytes // _BEAT
    came = beats.row * command.lines + beats.number // parts
    waiting = came - (lines.row * command.lines + lines.number)
    bench.prove(implies(command.lead == 0, waiting <= 2))
    moved = (lines.row == command.rows) & (beats.row == command.rows)
    all_over = moved & (lines.number == 0) & (beats.number == 0) & (promised == 0) & ~axi.arvalid
    bench.prove(implies(engine.done, all_over))
    bench.reach(engine.done & (command.rows == 2) & (command.beats == 3) & (command.lead == 1))


class _Lengths:
    """The bursts that the memory owes: how many, and whether the next beat is the last of one."""

    def __init__(self, bench: Bench, asked, length, beat) -> None:
        m, depth = bench.m, ALIGNING.load_bursts + 1
        left = [Signal(3, name=f"owed_{index}") for index in range(depth)]  # beats, 0: no burst
        self.last, self.bursts = left[0] == 1, bench.count(3, asked, beat & (left[0] == 1))
        after = [Signal(3, name=f"owed_after_{index}") for index in range(depth)]
        for index in range(depth):
            following = left[index + 1] if index + 1 < depth else 0
            m.d.comb += after[index].eq(left[index])
            with m.If(beat & self.last):
                m.d.comb += after[index].eq(following)
            m.d.sync += left[index].eq(after[index])
        with m.If(beat & ~self.last):
            m.d.comb += after[0].eq(left[0] - 1)
        for index in range(depth):
            before = after[index - 1] != 0 if index else 1
            with m.If(asked & (after[index] == 0) & before):
                m.d.sync += left[index].eq(length + 1)
