"""HbmReads: the read half of an HBM controller, from AXI4 bursts to column accesses and back."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from isa.hbm import BEAT_BYTES, HbmGeneration
from isa.hbm_map import HbmMap
from rtl.axi import Axi4
from rtl.hbm_burst import OKAY, SIZE_BITS, SLVERR, Burst
from rtl.hbm_map import locate
from rtl.hbm_window import access_layout
from rtl.memory import Sram1R1W


class HbmReads(wiring.Component):
    """Every column that is asked for has a slot, in the order of the bursts; its data come to the
    slot in any order and leave in order, also between ids.

    Latency: an access is offered 1 cycle after its burst is taken; a beat is on the R channel 2
    cycles after it was on `rdata`. Throughput: one beat a cycle.

    Members
    -------
    axi : the read channels of AXI4 (master's point of view); the others idle
    memory_columns : size of the memory
    access : stream of `access_layout`, the tag is the slot
    made, tag : the access of that slot was decided: it is on the device's port in the next cycle
    rdata : the device's
    idle : nothing is asked for
    """

    def __init__(self, generation: HbmGeneration, mapping: HbmMap, slots: int, id_bits: int):
        self._generation, self._mapping = generation, mapping
        self._slots, self._id_bits = slots, id_bits
        tag_bits = exact_log2(slots)
        super().__init__(
            {
                "axi": In(Axi4(BEAT_BYTES, id_bits)),
                "memory_columns": In(SIZE_BITS),
                "access": Out(stream.Signature(access_layout(generation, tag_bits))),
                "made": In(1),
                "tag": In(tag_bits),
                "rdata": In(8 * BEAT_BYTES),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.burst = burst = Burst(self._id_bits)
        for name in ("id", "addr", "len", "size", "burst", "valid"):
            m.d.comb += getattr(burst, name).eq(getattr(self.axi, f"ar{name}"))
        bits = {"half": 1, "both": 1, "last": 1, "error": 1, "id": self._id_bits}
        kept = data.StructLayout(bits)
        m.submodules.order = order = fifo.SyncFIFO(width=kept.size, depth=self._slots)
        self._done = Signal(self._slots)
        tail, head = Signal.like(self.tag), Signal.like(self.tag)
        step, going = burst.step, Signal()
        m.d.comb += [
            self.axi.arready.eq(burst.ready),
            burst.memory_columns.eq(self.memory_columns),
            self.idle.eq(~burst.active & ~order.r_rdy),
            self.access.valid.eq(burst.active & order.w_rdy & ~step.error),
            self.access.payload.place.eq(locate(m, self._mapping, step.address)),
            self.access.payload.tag.eq(tail),
            going.eq(burst.active & order.w_rdy & (self.access.ready | step.error)),
            burst.next.eq(going),
            order.w_en.eq(going),
            order.w_data.eq(Cat(step[name] for name in bits)),
        ]
        m.d.sync += tail.eq(tail + going)
        with m.If(going):
            m.d.sync += self._done.bit_select(tail, 1).eq(step.error)
        column = kept(order.r_data)
        second, landing = self._land(m)
        self._leave(m, order, column, head, second, landing)
        return m

    def _land(self, m: Module) -> tuple[Signal, Signal]:
        """Data into their slots; returns whether a second beat comes, and its slot."""
        cl, bits = self._generation.timing.cl, len(self.tag)
        m.submodules.data = self._data = cells = Sram1R1W(8 * BEAT_BYTES, 2 * self._slots)
        valid, tags = Signal(cl + 1), Signal((cl + 1) * bits)
        m.d.sync += [valid.eq(valid << 1 | self.made), tags.eq(tags << bits | self.tag)]
        first, slot = valid[-1], tags[-bits:]
        second, landing = Signal(), Signal(bits)
        m.d.sync += [second.eq(first), landing.eq(slot)]
        m.d.comb += [
            cells.wen.eq(first | second),
            cells.waddr.eq(Mux(second, landing << 1 | 1, slot << 1)),
            cells.wdata.eq(self.rdata),
        ]
        with m.If(first):
            m.d.sync += self._done.bit_select(slot, 1).eq(1)
        return second, landing

    def _leave(self, m, order, column, head, second, landing) -> None:
        """Beats to the R channel, as long as those of the oldest slot are there."""
        axi, cells, other = self.axi, self._data, Signal()  # other: the slot's second beat
        half, here, ends, free, go = Signal(), Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            half.eq(column.half | other),
            # A slot is done when its first beat is stored; the second one is a cycle later.
            here.eq(
                order.r_rdy & self._done.bit_select(head, 1) & ~(half & second & (landing == head))
            ),
            ends.eq(~column.both | other),
            free.eq(~axi.rvalid | axi.rready),
            go.eq(here & free),
            cells.ren.eq(go),
            cells.raddr.eq(head << 1 | half),
            order.r_en.eq(go & ends),
            axi.rdata.eq(cells.rdata),
        ]
        with m.If(free):
            m.d.sync += [
                axi.rvalid.eq(here),
                axi.rid.eq(column.id),
                axi.rlast.eq(column.last & ends),
                axi.rresp.eq(Mux(column.error, SLVERR, OKAY)),
            ]
        with m.If(go):
            m.d.sync += [other.eq(~ends), head.eq(head + ends)]
