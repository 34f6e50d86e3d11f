"""SplitReads and SplitWrites: AXI's rules at the chip's port and at the pseudo-channels."""

from amaranth.hdl import Array, Cat, Mux, Signal, Value
from amaranth.lib import wiring

from formal.bench import Bench, implies
from formal.follow import follow
from formal.proof import Mutant, proof
from formal.sizes import TWO_CHANNELS
from rtl.hbm_split_reads import SplitReads
from rtl.hbm_split_writes import SplitWrites

# Pieces of 64 bytes, two beats of the port, four of a channel.
_TWO = TWO_CHANNELS.replace(hbm_map="row bank column group:1 channel group:1")
_PIECE_BEATS = 4
_BITS = 5  # of counts of bursts and beats
_DEPTH = 9  # cycles, and so no more bursts
_LENGTH_BITS = 3


def _ask(bench: Bench, axi: wiring.PureInterface, channel: str) -> tuple[Value, Signal]:
    """A master's address channel that keeps AXI's rules, its bursts short ones in four pages;
    returns whether one is taken, and the beats of it."""
    m = bench.m
    offer = {name: getattr(axi, f"{channel}{name}") for name in ("addr", "len", "id", "burst")}
    m.d.comb += [
        offer["addr"].eq(bench.free("address", 14)),
        offer["len"].eq(bench.free("length", _LENGTH_BITS)),
    ]
    valid, ready = getattr(axi, f"{channel}valid"), getattr(axi, f"{channel}ready")
    size = getattr(axi, f"{channel}size")
    bench.assume(bench.steady(valid, ready, Cat(*offer.values(), size)))
    beats = Signal(_LENGTH_BITS + 1)
    m.d.comb += beats.eq(offer["len"] + 1)
    return valid & ready, beats


def _claim_asks(bench: Bench, port: wiring.PureInterface, channel: str) -> Value:
    """An address of a pseudo-channel stays until it is taken; returns whether it is."""
    names = ("addr", "len", "burst", "id", "size")
    valid, ready = getattr(port, f"{channel}valid"), getattr(port, f"{channel}ready")
    offer = Cat(getattr(port, f"{channel}{name}") for name in names)
    bench.prove(bench.steady(valid, ready, offer))
    bench.prove(implies(valid, getattr(port, f"{channel}len") < _PIECE_BEATS))
    return valid & ready


@proof(
    SplitReads,
    Mutant("order.w_en.eq(pieces.next)", "order.w_en.eq(pieces.active)"),
    Mutant("ends.eq(count == piece.beats - 1)", "ends.eq(1)"),
    Mutant("self.axi.rlast.eq(piece.last & ends)", "self.axi.rlast.eq(piece.last)"),
    Mutant("queue.w_en.eq(taken & ends)", "queue.w_en.eq(taken)"),
    depth=_DEPTH,
    unbounded=False,
    quick=False,
)
def reads(bench: Bench, unit: type) -> None:
    """Offers stay; every burst has its beats, its id on them, `rlast` on the last one; no beat
    comes that was not asked for, or without the channel's beats that make it."""
    split = bench.add("split", unit(_TWO))
    axi = split.axi
    asked, beats = _ask(bench, axi, "ar")
    came = Signal(4)  # beats of the channels that are taken in this cycle
    counts = []
    for port in (split.pc0, split.pc1):
        ask = _claim_asks(bench, port, "ar")
        taken = port.rvalid & port.rready
        owed = bench.count(_BITS, Mux(ask, port.arlen + 1, 0), taken)
        bench.assume(implies(port.rvalid, owed != 0))
        bench.assume(bench.steady(port.rvalid, port.rready, Cat(port.rdata, port.rresp)))
        counts.append(taken)
    bench.m.d.comb += came.eq(counts[0] + counts[1])
    offer = Cat(axi.rid, axi.rdata[:8], axi.rdata[-8:], axi.rresp, axi.rlast)
    bench.prove(bench.steady(axi.rvalid, axi.rready, offer))
    beat = axi.rvalid & axi.rready
    held = bench.count(_BITS, came, Mux(beat, 2, 0))
    bench.prove(implies(axi.rvalid, held >= 2))
    one = follow(bench, asked, beat & axi.rlast, _BITS)
    bench.prove(implies(axi.rvalid, one.items != 0))
    _claim_burst(bench, one, beats, axi.arid, axi.rvalid, beat, axi.rlast, axi.rid)
    bench.reach(one.first & beat & axi.rlast & bench.sticky(bench.past(beat & ~axi.rlast)))


def _claim_burst(bench, one, beats, asked_id, valid, beat, last, identity) -> None:
    """The followed burst has its beats, the last one marked, and its id."""
    m, wanted, its, seen = bench.m, Signal.like(beats), Signal.like(asked_id), Signal.like(beats)
    with m.If(one.enters):
        m.d.sync += [wanted.eq(beats), its.eq(asked_id)]
    with m.If(one.first & beat):
        m.d.sync += seen.eq(seen + 1)
    with m.If(one.first & valid):
        bench.prove(last == (seen + 1 == wanted))
        bench.prove(identity == its)


@proof(
    SplitWrites,
    Mutant("queue.w_en.eq(pieces.next)", "queue.w_en.eq(pieces.active)"),
    Mutant("last.eq(count == piece.beats - 1)", "last.eq(count == piece.beats)"),
    Mutant("here & (~piece.last | self.axi.bready)", "here"),
    Mutant("self.last.eq(word.last & ends)", "self.last.eq(word.last)"),
    depth=_DEPTH,
    unbounded=False,
    quick=False,
)
def writes(bench: Bench, unit: type) -> None:
    """Offers stay; a channel gets the beats of its pieces, the last one of each marked; one answer
    for each burst, with its id, when all of its pieces are answered."""
    split = bench.add("split", unit(_TWO))
    m, axi = bench.m, split.axi
    asked, _ = _ask(bench, axi, "aw")
    bench.assume(bench.steady(axi.wvalid, axi.wready, Cat(axi.wdata, axi.wstrb, axi.wlast)))
    for port in (split.pc0, split.pc1):
        ask = _claim_asks(bench, port, "aw")
        beat, beats = port.wvalid & port.wready, Cat(port.wdata[:8], port.wstrb, port.wlast)
        bench.prove(bench.steady(port.wvalid, port.wready, beats))
        owed = bench.count(_BITS, ask, port.bvalid & port.bready)
        bench.assume(implies(port.bvalid, owed != 0))
        bench.assume(bench.steady(port.bvalid, port.bready, port.bresp))
        lengths = Array(Signal(2, name="length") for _ in range(_DEPTH))
        bits = _DEPTH.bit_length()
        at, done = bench.count(bits, ask), bench.count(bits, beat & port.wlast)
        with m.If(ask):
            m.d.sync += lengths[at].eq(port.awlen)
        here = Signal(3)
        with m.If(beat):
            m.d.sync += here.eq(Mux(port.wlast, 0, here + 1))
        bench.prove(implies(port.wvalid, done != at))
        bench.prove(implies(port.wvalid, port.wlast == (here == lengths[done])))
    bench.prove(bench.steady(axi.bvalid, axi.bready, Cat(axi.bid, axi.bresp)))
    answered = axi.bvalid & axi.bready
    one, its = follow(bench, asked, answered, _BITS), Signal.like(axi.awid)
    with m.If(one.enters):
        m.d.sync += its.eq(axi.awid)
    bench.prove(implies(axi.bvalid, one.items != 0))
    bench.prove(implies(one.first & axi.bvalid, axi.bid == its))
    bench.reach(one.first & answered)
