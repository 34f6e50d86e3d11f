"""ReadMux and WriteMux: AXI's rules, and every answer to its client."""

from amaranth.hdl import Cat, Signal

from formal.bench import Bench, implies
from formal.clients import WriteBursts
from formal.proof import Mutant, proof
from formal.sizes import NARROW
from rtl.axi import READ_IDS, WRITE_IDS
from rtl.axi_mux import _READ_PRIORITY, ReadMux, WriteMux


@proof(
    ReadMux,
    Mutant("free.eq(~axi.arvalid | axi.arready)", "free.eq(1)"),
    Mutant("with m.If(free):", "with m.If(axi.arready & ~axi.arid[0]):"),
    Mutant("request.ready.eq(free & ~taken)", "request.ready.eq(free)"),
    Mutant("taken = taken | request.valid", "taken = request.valid"),
    depth=5,
)
def read_requests(bench: Bench, unit: type) -> None:
    """Requests go out once, in the order of their acceptance, unchanged, steadily; by priority."""
    mux = bench.add("mux", unit(NARROW))
    axi = mux.axi
    bench.prove(bench.steady(axi.arvalid, axi.arready, Cat(axi.arid, axi.araddr, axi.arlen)))
    free = ~axi.arvalid | axi.arready
    accepted = Signal(len(READ_IDS))
    for name in _READ_PRIORITY:
        request, index = getattr(mux, name).request, READ_IDS.index(name)
        ahead = _READ_PRIORITY[: _READ_PRIORITY.index(name)]
        first = ~Cat(getattr(mux, other).request.valid for other in ahead).any()
        bench.m.d.comb += accepted[index].eq(request.valid & request.ready)
        bench.prove(accepted[index] == (request.valid & free & first))
        payload = Cat(axi.araddr, axi.arlen) == Cat(request.payload.addr, request.payload.len)
        before = bench.past(Cat(request.payload.addr, request.payload.len))
        sent = axi.arvalid & (axi.arid == index) & (Cat(axi.araddr, axi.arlen) == before)
        bench.prove(implies(bench.past(accepted[index]), sent))
        bench.reach(accepted[index] & ~payload & axi.arvalid)
    bench.prove((accepted & (accepted - 1)) == 0)
    pending = Signal()  # accepted, and not yet taken by the memory
    bench.m.d.sync += pending.eq(accepted.any() | (pending & ~axi.arready))
    bench.prove(axi.arvalid == pending)
    bench.prove((axi.arburst == 1) & (axi.arsize == 0) & ~axi.awvalid & ~axi.wvalid)


@proof(
    ReadMux,
    Mutant("mine.eq(axi.rid == index)", "mine.eq(axi.rid[0] == index)"),
    Mutant("ready = ready | (mine & client.ready)", "ready = ready | client.ready"),
    depth=3,
)
def read_answers(bench: Bench, unit: type) -> None:
    """A beat reaches the client of its id and no other, and is taken when that client takes it."""
    mux = bench.add("mux", unit(NARROW))
    axi = mux.axi
    for index, name in enumerate(READ_IDS):
        client, mine = getattr(mux, name), axi.rid == index
        bench.prove(client.valid == (axi.rvalid & mine))
        bench.prove(implies(mine, axi.rready == client.ready))
        seen = Cat(client.data, client.last) == Cat(axi.rdata, axi.rlast)
        bench.prove(implies(client.valid, seen))
        bench.reach(client.valid & client.ready)


@proof(
    WriteMux,
    Mutant("with m.If(wanted & (over | ~started)):", "with m.If(wanted & (over | ~sent)):"),
    Mutant("client.ready.eq(mine & axi.wready", "client.ready.eq(axi.wready"),
    Mutant("sent.eq((sent | sends) & ~over)", "sent.eq(sends & ~over)"),
    depth=7,
)
def write_bursts(bench: Bench, unit: type) -> None:
    """Bursts are not interleaved; addresses and beats are steady, and of one client at a time."""
    mux = bench.add("mux", unit(NARROW))
    axi = mux.axi
    clients = [WriteBursts(bench, getattr(mux, name), bench.assume) for name in WRITE_IDS]
    scalar, store = clients
    bench.prove(bench.steady(axi.awvalid, axi.awready, Cat(axi.awid, axi.awaddr, axi.awlen)))
    bench.prove(bench.steady(axi.wvalid, axi.wready, Cat(axi.wdata, axi.wstrb, axi.wlast)))
    bench.prove(~(scalar.inside & store.inside))
    for index, name in enumerate(WRITE_IDS):
        client = getattr(mux, name)
        bench.prove(implies(clients[index].asked, axi.awvalid & axi.awready & (axi.awid == index)))
        bench.prove(implies(clients[index].beaten, axi.wvalid & axi.wready))
        bench.prove(client.response == (axi.bvalid & axi.bready & (axi.bid == index)))
    bench.prove((axi.awvalid & axi.awready) == (scalar.asked | store.asked))
    bench.prove((axi.wvalid & axi.wready) == (scalar.beaten | store.beaten))
    bench.reach(bench.past(scalar.finished) & bench.past(bench.past(store.finished)))


@proof(
    WriteMux,
    Mutant("wanted.eq(Mux(owner, scalar", "wanted.eq(owner & Mux(owner, scalar"),
    Mutant("with m.If(wanted & (over | ~started)):", "with m.If(wanted & ~started):"),
    depth=9,
)
def write_fairness(bench: Bench, unit: type) -> None:
    """A client that wants to write waits for the rest of one burst of the other, at most."""
    mux = bench.add("mux", unit(NARROW))
    clients = [WriteBursts(bench, getattr(mux, name), bench.assume) for name in WRITE_IDS]
    for index, name in enumerate(WRITE_IDS):
        request, other = getattr(mux, name).request, clients[1 - index]
        finished = bench.count(2, 0)
        with bench.m.If(~request.valid | request.ready):
            bench.m.d.sync += finished.eq(0)
        with bench.m.Elif(other.finished):
            bench.m.d.sync += finished.eq(finished + 1)
        bench.prove(finished <= 1)
        # Nobody else in the way: the port is this client's after one cycle.
        alone = request.valid & ~getattr(mux, WRITE_IDS[1 - index]).request.valid & ~other.inside
        bench.prove(implies(bench.past(alone) & request.valid & alone, mux.axi.awvalid))
        bench.reach(finished == 1)
