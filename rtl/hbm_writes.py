"""HbmWrites: the write half of an HBM controller, from AXI4 bursts to column accesses."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from isa.hbm import BEAT_BYTES, HbmGeneration
from isa.hbm_map import HbmMap
from rtl.axi import Axi4
from rtl.hbm_burst import OKAY, SIZE_BITS, SLVERR, Burst, ask
from rtl.hbm_map import locate
from rtl.hbm_merge import Merge
from rtl.hbm_port import ECC_BITS, place_layout
from rtl.hbm_window import access_layout
from rtl.memory import Sram1R1W
from rtl.secded import all_check_bits


def tag_layout(slots: int) -> data.StructLayout:
    """Where an access' data lie, and which of its two beats are to be written."""
    return data.StructLayout({"slot": exact_log2(slots), "beats": 2})


class HbmWrites(wiring.Component):
    """Beats wait in slots, one slot for a column. A burst is answered when all of its columns are
    on their way to the device, bursts in the order of their addresses.

    A later read of the same bytes finds them: the device makes the accesses of a row in the order
    in which they are decided.

    Throughput: one beat a cycle. Beats are taken from the cycle after their address on. With
    ``ecc`` a column that has words written in part is read first (`Merge`), which takes the latency
    of the writes before it and of a read.

    Members
    -------
    axi : the write channels of AXI4 (master's point of view); the others idle
    memory_columns : size of the memory
    access : stream of `access_layout`, the tag is a `tag_layout`
    made, tag : the access with that tag was decided: it is on the device's port in the next cycle
    wdata, wmask, wecc : the device's
    fetch, fetched, data, failed : of the read half
    idle : no burst is under way, but its answer may be on offer
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
                "wdata": Out(8 * BEAT_BYTES),
                "wmask": Out(BEAT_BYTES),
                "wecc": Out(ECC_BITS),
                "fetch": Out(stream.Signature(place_layout(generation))),
                "fetched": In(1),
                "data": In(8 * BEAT_BYTES),
                "failed": In(1),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.burst = burst = Burst(self._id_bits)
        ask(m, self.axi, "aw", burst)
        m.submodules.data = self._data = Sram1R1W(9 * BEAT_BYTES, 2 * self._slots)
        m.submodules.order = order = fifo.SyncFIFO(width=2 + self._id_bits, depth=self._slots)
        self._done = Signal(self._slots)
        self._head = Signal(exact_log2(self._slots))
        m.d.comb += [
            burst.memory_columns.eq(self.memory_columns),
            self.idle.eq(~burst.active & ~order.r_rdy),
        ]
        self._gather(m, burst, order)
        self._write(m)
        self._answer(m, order)
        return m

    def _gather(self, m: Module, burst: Burst, order: fifo.SyncFIFO) -> None:
        """Beats into slots; a column with all of its beats becomes an access."""
        axi, step, cells = self.axi, burst.step, self._data
        tail, half, earlier = Signal.like(self._head), Signal(), Signal()
        ends, taken, going, tag = Signal(), Signal(), Signal(), Signal(self._tag)
        room, whole, offered, error = Signal(), Signal(), Signal(), Signal()
        place = locate(m, self._mapping, step.address)
        m.submodules.merge = merge = Merge(self._generation)
        m.d.comb += [
            half.eq(step.half | earlier),  # of the beat that comes
            ends.eq(~step.both | earlier),
            room.eq(burst.active & order.w_rdy & ~merge.busy),
            whole.eq(~merge.partial if self._ecc else 1),
            error.eq(step.error | merge.bad),
            axi.wready.eq(room & (~ends | self.access.ready | step.error | ~whole)),
            taken.eq(axi.wvalid & axi.wready),
            offered.eq(room & axi.wvalid & ends & ~step.error & whole),
            going.eq(
                (taken & ends & (whole | step.error))
                | (merge.over & (merge.bad | self.access.ready))
            ),
            burst.next.eq(going),
            tag.slot.eq(tail),
            tag.beats.eq(Mux(merge.busy, 0b11, Mux(step.half, 0b10, Cat(1, step.both)))),
            self.access.valid.eq(offered | (merge.over & ~merge.bad)),
            self.access.payload.place.eq(place),
            self.access.payload.tag.eq(tag),
            cells.wen.eq(taken | merge.write),
            cells.waddr.eq(tail << 1 | Mux(merge.busy, merge.late, half)),
            cells.wdata.eq(
                Mux(
                    merge.busy,
                    Cat(merge.new, Const(-1, BEAT_BYTES)),
                    Cat(axi.wdata, axi.wstrb),
                )
            ),
            order.w_en.eq(going),
            order.w_data.eq(Cat(step.last, error, step.id)),
        ]
        with m.If(taken):
            m.d.sync += earlier.eq(~ends)
        with m.If(going):
            m.d.sync += [tail.eq(tail + 1), self._done.bit_select(tail, 1).eq(error)]
        m.d.comb += [
            merge.beat.eq(taken),
            merge.first.eq(~earlier),
            merge.half.eq(half),
            merge.data.eq(axi.wdata),
            merge.strb.eq(axi.wstrb),
            merge.place.eq(place),
            merge.start.eq(taken & ends & ~whole & ~step.error),
            merge.quiet.eq(~order.r_rdy),
            merge.fetched.eq(self.fetched),
            merge.old.eq(self.data),
            merge.failed.eq(self.failed),
            merge.taken.eq(merge.over & going),
        ]
        wiring.connect(m, wiring.flipped(self.fetch), merge.fetch)

    def _write(self, m: Module) -> None:
        """Fetch a column's beats so that they are on the port CWL cycles after its command."""
        delay, size = self._generation.timing.cwl - 1, self._tag.size
        valid, tags = Signal(delay), Signal(delay * size)
        m.d.sync += [valid.eq(valid << 1 | self.made), tags.eq(tags << size | self.tag.as_value())]
        first, second, later = valid[-1], Signal(), Signal(self._tag)
        tag = self._tag(tags[-size:])
        used = Signal()
        m.d.sync += [
            second.eq(first),
            later.eq(tag),
            used.eq(Mux(second, later.beats[1], tag.beats[0])),
        ]
        m.d.comb += [
            self._data.ren.eq(first | second),
            self._data.raddr.eq(Mux(second, later.slot << 1 | 1, tag.slot << 1)),
        ]
        with m.If(second):  # not before: the slot is used again once its burst is answered
            m.d.sync += self._done.bit_select(later.slot, 1).eq(1)
        read, strobes = self._data.rdata[: 8 * BEAT_BYTES], self._data.rdata[8 * BEAT_BYTES :]
        m.d.sync += [self.wdata.eq(read), self.wmask.eq(Mux(used, strobes, 0))]
        if self._ecc:
            m.d.sync += self.wecc.eq(all_check_bits(read))

    def _answer(self, m: Module, order: fifo.SyncFIFO) -> None:
        axi, head = self.axi, self._head
        last, error, identity = order.r_data[0], order.r_data[1], order.r_data[2:]
        free, here = Signal(), Signal()
        m.d.comb += [
            free.eq(~axi.bvalid | axi.bready),
            here.eq(order.r_rdy & self._done.bit_select(head, 1)),
            order.r_en.eq(here & (free | ~last)),
        ]
        with m.If(free):
            m.d.sync += [
                axi.bvalid.eq(here & last),
                axi.bid.eq(identity),
                axi.bresp.eq(Mux(error, SLVERR, OKAY)),
            ]
        with m.If(order.r_en):
            m.d.sync += head.eq(head + 1)
