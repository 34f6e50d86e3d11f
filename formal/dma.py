"""LoadDma and StoreDma behind their multiplexers: what the memory and the SRAM see of them."""

from amaranth.hdl import Cat, Mux, Signal
from amaranth.lib import wiring

from formal.bench import Bench, implies
from formal.clients import WriteBursts
from formal.dma_walks import free_rows
from formal.proof import Mutant, proof
from formal.sizes import NARROW
from rtl.axi_mux import ReadMux, WriteMux
from rtl.dma_load import LoadDma
from rtl.dma_store import StoreDma

_BITS = 7  # of counts of beats, lines and bursts
_ROW_BITS = 2
_CHIP = NARROW.replace(lanes=2, line_bytes=4, sram_bytes=32, axi_bytes=2)
_LINE, _BEAT, _GRANULE = _CHIP.line_bytes, _CHIP.axi_bytes, _CHIP.byte_vector_bytes


class _Command:
    """One command, offered from the first cycle on, no gather, and one byte of it, which stands for
    all: byte `at` of row `row`.

    ``lines``, ``beats``: how many it moves. ``line``, ``line_byte``; ``beat``, ``beat_byte``:
    where the byte goes through the SRAM's and the memory's port.
    """

    def __init__(self, bench: Bench, engine: wiring.Component) -> None:
        payload, m = engine.command.payload, bench.m
        free_rows(bench, _CHIP, payload, _ROW_BITS)
        started = engine.command.valid & engine.command.ready
        self.busy, self.lead, self.size = Signal(), Signal(1), Signal(_BITS)
        self.lines, self.row_lines = Signal(_BITS), Signal(_BITS)
        self.beats, self.row_beats = Signal(_BITS), Signal(_BITS)
        m.d.sync += self.busy.eq((self.busy | started) & ~engine.done)
        count, lead = Signal(_BITS), Signal(1)
        row_lines, row_beats = Signal(_BITS), Signal(_BITS)
        m.d.comb += [
            count.eq(payload.rows[:2] * payload.planes[:2]),
            lead.eq(payload.offset % _BEAT),
            row_lines.eq((payload.bytes + _LINE - 1) // _LINE),
            row_beats.eq((lead + payload.bytes + _BEAT - 1) // _BEAT),
        ]
        with m.If(started):
            m.d.sync += [
                self.lines.eq(count * row_lines),
                self.beats.eq(count * row_beats),
                self.row_lines.eq(row_lines),
                self.row_beats.eq(row_beats),
                self.lead.eq(lead),
                self.size.eq(payload.bytes),
            ]
        row, at = bench.symbol("row", 3), bench.symbol("at", _ROW_BITS + 2)
        self.content, place = bench.symbol("content", 8), Signal(_BITS)
        self.line, self.beat = Signal(_BITS), Signal(_BITS)
        bench.assume(implies(self.busy, at < self.size))
        m.d.comb += [
            place.eq(self.lead + at),
            self.line.eq(row * self.row_lines + at // _LINE),
            self.beat.eq(row * self.row_beats + place // _BEAT),
        ]
        self.line_byte, self.beat_byte = at % _LINE, place % _BEAT
        bench.assume(implies(bench.sticky(started), ~engine.command.valid))
        bench.prove(engine.command.ready == ~self.busy)
        bench.prove(implies(engine.done, self.busy))

    def inside(self, bench: Bench, taken, of_row, unit: int, first) -> tuple[Signal, ...]:
        """For each byte of the next line or beat (of ``unit`` bytes, ``of_row`` a row, of which
        ``first`` bytes are in front of the row), whether it belongs to the row."""
        number = Signal(_BITS)  # in the row
        with bench.m.If(taken):
            bench.m.d.sync += number.eq((number + 1) & (number + 1 != of_row).replicate(_BITS))
        found = tuple(Signal(name=f"inside_{index}") for index in range(unit))
        for index, signal in enumerate(found):
            place = number * unit + index
            bench.m.d.comb += signal.eq((place >= first) & (place < first + self.size))
        return found


def _claim_burst(bench: Bench, valid, address, length) -> None:
    """No burst is longer than the longest or leaves its page."""
    last = address[:12] + (length + 1) * _BEAT - 1
    bench.prove(implies(valid, (length < _CHIP.burst_beats) & (last < 4096)))


@proof(
    StoreDma,
    Mutant("memory.last.eq(count == burst.len)", "memory.last.eq(count == 3)"),
    Mutant("(waiting == 0)", "1"),
    Mutant("request.valid.eq(room & ~sent)", "request.valid.eq(room)"),
    Mutant("cutter.first.eq(burst.first & (count == 0))", "cutter.first.eq(count == 0)"),
    Mutant("(waiting != most)", "1"),
    depth=14,
    unbounded=False,
    quick=False,
)
def store(bench: Bench, unit: type) -> None:
    """Every burst has its beats, `wlast` on the last one; offers are steady; the beats are the
    lines' bytes, in the order of their reads, from any byte on, with the strobes of the rows; at
    most `store_bursts` are unanswered; `done` comes when the memory has all and has said so."""
    engine, mux = bench.add("store", unit(_CHIP)), bench.add("mux", WriteMux(_CHIP))
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
    begun = Signal(_BITS)
    m.d.comb += begun.eq(Mux(sent > over, sent, over))
    bench.prove(begun - acknowledged <= _CHIP.store_bursts)
    arriving = bench.past(port.valid & port.ready & (read == command.line))
    bench.assume(implies(arriving, port.data.word_select(command.line_byte, 8) == command.content))
    strobes = command.inside(bench, beat, command.row_beats, _BEAT, command.lead)
    bench.prove(implies(axi.wvalid, axi.wstrb == Cat(strobes)))
    mine = axi.wvalid & (beats == command.beat)
    bench.prove(implies(mine, axi.wdata.word_select(command.beat_byte, 8) == command.content))
    all_over = (read == command.lines) & (beats == command.beats) & (acknowledged == over)
    bench.prove(implies(engine.done, all_over & (sent == over)))
    bench.reach(engine.done & (command.beats == 6) & (command.lead == 1))


@proof(
    LoadDma,
    Mutant("room.eq((flying != self._config.load_bursts) & ready)", "room.eq(ready)"),
    Mutant("self.memory.ready.eq(filler.i.ready)", "self.memory.ready.eq(1)"),
    Mutant("held.eq(lead)", "held.eq(0)"),
    Mutant("self.done.eq(busy & ~addresses.active)", "self.done.eq(busy & ~bursts.active)"),
    depth=14,
    unbounded=False,
    quick=False,
)
def load(bench: Bench, unit: type) -> None:
    """At most `load_bursts` bursts are unanswered; the lines written are the beats' bytes, in
    their order, from any byte on, with zeros behind a row and nothing behind its last granule;
    writes are steady until accepted; `done` comes when every line is written."""
    engine, mux = bench.add("load", unit(_CHIP)), bench.add("mux", ReadMux(_CHIP))
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
    bench.prove(lengths.bursts <= _CHIP.load_bursts)
    beats, lines = bench.count(_BITS, beat), bench.count(_BITS, port.valid & port.ready)
    mine = axi.rvalid & (beats == command.beat)
    bench.assume(implies(mine, axi.rdata.word_select(command.beat_byte, 8) == command.content))
    data, mask = port.data, port.mask
    written = data.word_select(command.line_byte, 8) == command.content
    bench.prove(implies(port.valid & (lines == command.line), written))
    inside = command.inside(bench, port.valid & port.ready, command.row_lines, _LINE, 0)
    for index, belongs in enumerate(inside):
        granule = index // _GRANULE
        bench.prove(implies(port.valid, mask[granule] == inside[granule * _GRANULE]))
        rest = port.valid & mask[granule] & ~belongs
        bench.prove(implies(rest, data.word_select(index, 8) == 0))
    bench.prove(bench.steady(port.valid, port.ready, Cat(port.addr, data, mask)))
    all_over = (lines == command.lines) & (promised == 0) & ~axi.arvalid
    bench.prove(implies(engine.done, all_over))
    bench.reach(engine.done & (command.beats == 6) & (command.lead == 1))


class _Lengths:
    """The bursts that the memory owes: how many, and whether the next beat is the last of one."""

    def __init__(self, bench: Bench, asked, length, beat) -> None:
        m, depth = bench.m, _CHIP.load_bursts + 1
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
