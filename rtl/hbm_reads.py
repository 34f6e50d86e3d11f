"""HbmReads: the read half of an HBM controller, from AXI4 bursts to column accesses and back."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from isa.hbm import BEAT_BYTES, HbmGeneration
from isa.hbm_map import HbmMap
from isa.secded import CHECK_BITS, WORD_BITS, WORD_BYTES
from rtl.axi import Axi4
from rtl.hbm_burst import OKAY, SIZE_BITS, SLVERR, Burst, ask
from rtl.hbm_map import locate
from rtl.hbm_port import ECC_BITS, place_layout
from rtl.hbm_window import access_layout
from rtl.memory import Sram1R1W
from rtl.secded import decode

LATENCY_BITS = 12
_KEPT = ("half", "both", "last", "error", "id")  # of a column until it leaves


def tag_layout(slots: int) -> data.StructLayout:
    """Where a column's data go: to a slot, or to the write half."""
    return data.StructLayout({"slot": exact_log2(slots), "fetch": 1})


class HbmReads(wiring.Component):
    """Every column that is asked for has a slot, in the order of the bursts; its data come to the
    slot in any order and leave in order, also between ids.

    With ``ecc`` words are corrected as they come; a beat with a word that cannot be is an error.

    Latency: an access is offered 1 cycle after its burst is taken; a beat is on the R channel 2
    cycles after it was on `rdata`. Throughput: one beat a cycle.

    Members
    -------
    axi : the read channels of AXI4 (master's point of view); the others idle
    memory_columns : size of the memory
    access : stream of `access_layout`, the tag is a `tag_layout`
    made, tag : the access with that tag was decided: it is on the device's port in the next cycle
    rdata, recc : the device's
    fetch : stream of columns that are read for the write half, at most one at a time
    fetched, data, failed : a beat of it; it is beyond repair
    corrected : words corrected in this cycle
    answered, latency : a burst's last beat is taken; so many cycles after its address (at most
        2^12 - 1)
    idle : nothing is asked for
    """

    def __init__(
        self, generation: HbmGeneration, mapping: HbmMap, slots: int, id_bits: int, ecc: bool
    ):
        self._generation, self._mapping, self._ecc = generation, mapping, ecc
        self._slots, self._id_bits = slots, id_bits
        self._tag = tag_layout(slots)
        super().__init__(
            {
                "axi": In(Axi4(BEAT_BYTES, id_bits)),
                "memory_columns": In(SIZE_BITS),
                "access": Out(stream.Signature(access_layout(generation, self._tag.size))),
                "made": In(1),
                "tag": In(self._tag),
                "rdata": In(8 * BEAT_BYTES),
                "recc": In(ECC_BITS),
                "fetch": In(stream.Signature(place_layout(generation))),
                "fetched": Out(1),
                "data": Out(8 * BEAT_BYTES),
                "failed": Out(1),
                "corrected": Out(range(BEAT_BYTES // WORD_BYTES + 1)),
                "answered": Out(1),
                "latency": Out(LATENCY_BITS),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.burst = burst = Burst(self._id_bits)
        ask(m, self.axi, "ar", burst)
        bits = dict(zip(_KEPT, (1, 1, 1, 1, self._id_bits), strict=True))
        kept = data.StructLayout({**bits, "asked": LATENCY_BITS})
        m.submodules.order = order = fifo.SyncFIFO(width=kept.size, depth=self._slots)
        self._done = Signal(self._slots)
        tail, head = (Signal(exact_log2(self._slots), name=name) for name in ("tail", "head"))
        step, going, tag = burst.step, Signal(), Signal(self._tag)
        fetching = self.fetch.valid
        asked = self._time(m, burst)
        m.d.comb += [
            burst.memory_columns.eq(self.memory_columns),
            self.idle.eq(~burst.active & ~order.r_rdy),
            tag.slot.eq(tail),
            tag.fetch.eq(fetching),
            self.fetch.ready.eq(self.access.ready),
            self.access.valid.eq(fetching | (burst.active & order.w_rdy & ~step.error)),
            self.access.payload.place.eq(
                Mux(
                    fetching,
                    self.fetch.payload.as_value(),
                    locate(m, self._mapping, step.address),
                )
            ),
            self.access.payload.tag.eq(tag),
            going.eq(burst.active & order.w_rdy & (step.error | (self.access.ready & ~fetching))),
            burst.next.eq(going),
            order.w_en.eq(going),
            order.w_data.eq(Cat(*(step[name] for name in _KEPT), asked)),
        ]
        m.d.sync += tail.eq(tail + going)
        with m.If(going):
            m.d.sync += self._done.bit_select(tail, 1).eq(step.error)
        column = kept(order.r_data)
        second, landing = self._land(m)
        self._leave(m, order, column, head, second, landing)
        return m

    def _time(self, m: Module, burst: Burst) -> Signal:
        """The cycle in which the present burst's address came, modulo 2^12."""
        self._now, asked = Signal(LATENCY_BITS), Signal(LATENCY_BITS)
        m.d.sync += self._now.eq(self._now + 1)
        with m.If(burst.valid & burst.ready):
            m.d.sync += asked.eq(self._now)
        return asked

    def _land(self, m: Module) -> tuple[Signal, Signal]:
        """Data into their slots; returns whether a second beat comes, and its slot."""
        cl, bits = self._generation.timing.cl, self._tag.size
        m.submodules.data = self._data = cells = Sram1R1W(8 * BEAT_BYTES + 1, 2 * self._slots)
        valid, tags = Signal(cl + 1), Signal((cl + 1) * bits)
        m.d.sync += [valid.eq(valid << 1 | self.made), tags.eq(tags << bits | self.tag.as_value())]
        tag = self._tag(tags[-bits:])
        first, slot, here = valid[-1] & ~tag.fetch, tag.slot, Signal()
        second, other, landing = Signal(), Signal(), Signal(len(slot))
        m.d.sync += [second.eq(first), other.eq(valid[-1] & tag.fetch), landing.eq(slot)]
        m.d.comb += [
            here.eq(valid[-1] | second | other),
            self.fetched.eq((valid[-1] & tag.fetch) | other),
            cells.wen.eq(first | second),
            cells.waddr.eq(Mux(second, landing << 1 | 1, slot << 1)),
            cells.wdata.eq(Cat(self.data, self.failed)),
        ]
        self._correct(m, here)
        with m.If(first):
            m.d.sync += self._done.bit_select(slot, 1).eq(1)
        return second, landing

    def _correct(self, m: Module, here: Signal) -> None:
        """The beat on the device's port, without its errors."""
        if not self._ecc:
            m.d.comb += self.data.eq(self.rdata)
            return
        words = [
            decode(
                m,
                f"word_{index}",
                self.rdata.word_select(index, WORD_BITS),
                self.recc.word_select(index, CHECK_BITS),
            )
            for index in range(BEAT_BYTES // WORD_BYTES)
        ]
        m.d.comb += [
            self.data.eq(Cat(data for data, _, _ in words)),
            self.failed.eq(here & Cat(failed for _, _, failed in words).any()),
        ]
        with m.If(here):
            m.d.comb += self.corrected.eq(sum(corrected for _, corrected, _ in words))

    def _leave(self, m, order, column, head, second, landing) -> None:
        """Beats to the R channel, as long as those of the oldest slot are there."""
        axi, cells, other = self.axi, self._data, Signal()  # other: the slot's second beat
        half, here, ends, free, go = Signal(), Signal(), Signal(), Signal(), Signal()
        refused, asked = Signal(), Signal(LATENCY_BITS)
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
            axi.rdata.eq(cells.rdata[:-1]),
            axi.rresp.eq(Mux(refused | cells.rdata[-1], SLVERR, OKAY)),
            self.answered.eq(axi.rvalid & axi.rready & axi.rlast),
            self.latency.eq(self._now - asked),
        ]
        with m.If(free):
            m.d.sync += [
                axi.rvalid.eq(here),
                axi.rid.eq(column.id),
                axi.rlast.eq(column.last & ends),
                refused.eq(column.error),
                asked.eq(column.asked),
            ]
        with m.If(go):
            m.d.sync += [other.eq(~ends), head.eq(head + ends)]
