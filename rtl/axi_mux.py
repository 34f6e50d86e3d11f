"""The read and the write side of the memory port, shared by their clients."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from rtl.axi import (
    BURST_INCR,
    READ_IDS,
    WRITE_IDS,
    AxiPort,
    ReadClient,
    WriteClient,
    beat_shift,
)

# The scalar load stops the sequencer, the fetch soon does, the bulk has time.
_READ_PRIORITY = ("scalar", "fetch", "load")


class ReadMux(wiring.Component):
    """Joins the read clients; an answer finds its client by its id.

    Requests pass a register (1 cycle, 1 per cycle) so that they stay stable; the fixed priority is
    fair enough because the first two clients ask for little. Beats pass without delay; a
    client that does not take its beat holds up the others.

    Members: one `ReadClient` for each name in `READ_IDS`; `axi`, of which the write half idles.
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        clients = {name: In(ReadClient(config)) for name in READ_IDS}
        super().__init__(clients | {"axi": Out(AxiPort(config))})

    def elaborate(self, platform):
        m = Module()
        axi, free = self.axi, Signal()
        m.d.comb += [
            free.eq(~axi.arvalid | axi.arready),
            axi.arsize.eq(beat_shift(self._config)),
            axi.arburst.eq(BURST_INCR),
        ]
        with m.If(free):
            m.d.sync += axi.arvalid.eq(0)
        taken = 0
        for name in _READ_PRIORITY:
            request = getattr(self, name).request
            m.d.comb += request.ready.eq(free & ~taken)
            with m.If(request.valid & request.ready):
                m.d.sync += [
                    axi.arvalid.eq(1),
                    axi.arid.eq(READ_IDS.index(name)),
                    axi.araddr.eq(request.payload.addr),
                    axi.arlen.eq(request.payload.len),
                ]
            taken = taken | request.valid
        ready = 0
        for index, name in enumerate(READ_IDS):
            client, mine = getattr(self, name), Signal(name=f"{name}_mine")
            m.d.comb += [
                mine.eq(axi.rid == index),
                client.valid.eq(axi.rvalid & mine),
                client.data.eq(axi.rdata),
                client.last.eq(axi.rlast),
            ]
            ready = ready | (mine & client.ready)
        m.d.comb += axi.rready.eq(ready)
        return m


class WriteMux(wiring.Component):
    """Joins the two write clients: the owner keeps the port for whole bursts.

    No delay for the owner; changing it takes one cycle, and it changes after any burst when the
    other client wants to write. The address and the beats of a burst are offered independently of
    each other, as AXI demands of a master.

    Members: one `WriteClient` for each name in `WRITE_IDS`; `axi`, of which the read half idles.
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        clients = {name: In(WriteClient(config)) for name in WRITE_IDS}
        super().__init__(clients | {"axi": Out(AxiPort(config))})

    def elaborate(self, platform):
        m = Module()
        axi = self.axi
        scalar, store = self.scalar, self.store
        owner = Signal()  # position in WRITE_IDS
        sent, ended = Signal(), Signal()  # the burst's address, its last beat, have been taken
        sends, ends, over, wanted = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            sends.eq(axi.awvalid & axi.awready),
            ends.eq(axi.wvalid & axi.wready & axi.wlast),
            over.eq((sent | sends) & (ended | ends)),
            wanted.eq(Mux(owner, scalar.request.valid, store.request.valid)),
        ]
        started = sent | ended | Mux(owner, store.request.valid, scalar.request.valid)
        m.d.sync += [sent.eq((sent | sends) & ~over), ended.eq((ended | ends) & ~over)]
        with m.If(wanted & (over | ~started)):
            m.d.sync += owner.eq(~owner)
        m.d.comb += [
            axi.awid.eq(owner),
            axi.awaddr.eq(Mux(owner, store.request.payload.addr, scalar.request.payload.addr)),
            axi.awlen.eq(Mux(owner, store.request.payload.len, scalar.request.payload.len)),
            axi.awsize.eq(beat_shift(self._config)),
            axi.awburst.eq(BURST_INCR),
            axi.awvalid.eq(Mux(owner, store.request.valid, scalar.request.valid) & ~sent),
            axi.wdata.eq(Mux(owner, store.data, scalar.data)),
            axi.wstrb.eq(Mux(owner, store.strb, scalar.strb)),
            axi.wlast.eq(Mux(owner, store.last, scalar.last)),
            axi.wvalid.eq(Mux(owner, store.valid, scalar.valid) & ~ended),
            axi.bready.eq(1),
        ]
        for index, client in enumerate((scalar, store)):
            mine = owner == index
            m.d.comb += [
                client.request.ready.eq(mine & axi.awready & ~sent),
                client.ready.eq(mine & axi.wready & ~ended),
                client.response.eq(axi.bvalid & (axi.bid == index)),
            ]
        return m
