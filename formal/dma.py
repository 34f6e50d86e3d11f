"""LoadDma and StoreDma behind their multiplexers: what the memory and the SRAM see of them."""

from amaranth.hdl import Cat, Signal
from amaranth.lib import wiring

from formal.bench import Bench, implies
from formal.clients import WriteBursts
from formal.dma_walks import free_rows
from formal.proof import Mutant, proof
from formal.sizes import NARROW
from rtl.axi_mux import ReadMux, WriteMux
from rtl.dma_load import LoadDma
from rtl.dma_store import StoreDma

_BITS = 5  # of counts of beats, lines and bursts
_ROW_BITS = 2


class _Command:
    """One command, offered from the first cycle on; ``lines``: how many it moves."""

    def __init__(self, bench: Bench, engine: wiring.Component) -> None:
        payload, m = engine.command.payload, bench.m
        free_rows(bench, NARROW, payload, _ROW_BITS)
        started = engine.command.valid & engine.command.ready
        self.busy, self.lines = Signal(), Signal(_BITS)
        m.d.sync += self.busy.eq((self.busy | started) & ~engine.done)
        with m.If(started):
            row_lines = payload.bytes >> (NARROW.line_bytes - 1).bit_length()
            m.d.sync += self.lines.eq(row_lines[:_ROW_BITS] * payload.rows[:2])
        bench.assume(implies(bench.sticky(started), ~engine.command.valid))
        bench.prove(engine.command.ready == ~self.busy)
        bench.prove(implies(engine.done, self.busy))


def _claim_burst(bench: Bench, valid, address, length) -> None:
    """No burst is longer than the longest or leaves its page."""
    last = address[:12] + (length + 1) * NARROW.axi_bytes - 1
    bench.prove(implies(valid, (length < NARROW.burst_beats) & (last < 4096)))


@proof(
    StoreDma,
    Mutant("memory.last.eq(count == bursts.o.payload.len)", "memory.last.eq(count == 3)"),
    Mutant("(waiting == 0)", "1"),
    Mutant("request.valid.eq(bursts.o.valid & ~sent)", "request.valid.eq(bursts.o.valid)"),
    Mutant("line[index * bits", "line[0 * index * bits"),
    depth=14,
    unbounded=False,
    quick=False,
)
def store(bench: Bench, unit: type) -> None:
    """Every burst has its beats, `wlast` on the last one; offers are steady; the beats are the
    lines, in the order of their reads; `done` comes when the memory has all and has said so."""
    engine, mux = bench.add("store", unit(NARROW)), bench.add("mux", WriteMux(NARROW))
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
    read, beats = bench.count(_BITS, port.valid & port.ready), bench.count(_BITS, beat)
    chosen, content = bench.symbol("line_number", _BITS - 1), bench.symbol("content", 16)
    arriving = bench.past(port.valid & port.ready & (read == chosen))
    bench.assume(implies(arriving, port.data == content))
    for part in range(2):
        mine = axi.wvalid & (beats == Cat(part, chosen))
        bench.prove(implies(mine, axi.wdata == content.word_select(part, 8)))
    all_over = (read == command.lines) & (beats == command.lines << 1) & (acknowledged == over)
    bench.prove(implies(engine.done, all_over & (sent == over)))
    bench.reach(engine.done & (command.lines == 4))


@proof(
    LoadDma,
    Mutant("room.eq(flying != self._config.load_bursts)", "room.eq(1)"),
    Mutant("self.memory.ready.eq(~full | self.port.ready)", "self.memory.ready.eq(1)"),
    Mutant("Cat(line, self.memory.data)[beat_bits:]", "Cat(self.memory.data, line)"),
    Mutant("self.done.eq(busy & ~addresses.active)", "self.done.eq(busy & ~bursts.active)"),
    depth=14,
    unbounded=False,
    quick=False,
)
def load(bench: Bench, unit: type) -> None:
    """At most `load_bursts` bursts are unanswered; the lines written are the beats, in their
    order; writes are steady until accepted; `done` comes when every line is written."""
    engine, mux = bench.add("load", unit(NARROW)), bench.add("mux", ReadMux(NARROW))
    axi, port = mux.axi, engine.port
    wiring.connect(bench.m, engine.memory, mux.load)
    command = _Command(bench, engine)
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
    bench.prove(lengths.bursts <= NARROW.load_bursts)
    beats, lines = bench.count(_BITS, beat), bench.count(_BITS, port.valid & port.ready)
    chosen, content = bench.symbol("line_number", _BITS - 1), bench.symbol("content", 16)
    for part in range(2):
        mine = axi.rvalid & (beats == Cat(part, chosen))
        bench.assume(implies(mine, axi.rdata == content.word_select(part, 8)))
    bench.prove(implies(port.valid & (lines == chosen), port.data == content))
    bench.prove(implies(port.valid, port.mask.all()))
    bench.prove(bench.steady(port.valid, port.ready, Cat(port.addr, port.data)))
    all_over = (lines == command.lines) & (promised == 0) & ~axi.arvalid
    bench.prove(implies(engine.done, all_over))
    bench.reach(engine.done & (command.lines == 4))


class _Lengths:
    """The bursts that the memory owes: how many, and whether the next beat is the last of one."""

    def __init__(self, bench: Bench, asked, length, beat) -> None:
        m, depth = bench.m, NARROW.load_bursts + 1
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
