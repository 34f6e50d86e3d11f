"""SplitReads: the chip's read bursts over all pseudo-channels, and their beats back in order."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from isa.hbm import BEAT_BYTES
from rtl.hbm_burst import OKAY, SLVERR
from rtl.hbm_pieces import piece_bytes
from rtl.hbm_split import Split


class SplitReads(Split):
    """Pieces of the bursts go to the controllers one a cycle. Beats come back in the order of the
    requests, also between ids; a piece of every channel can wait complete.

    Latency: 1 cycle to the controller; back, a beat of the port is there 1 cycle after the last of
    the controller's beats that make it. Throughput: one beat of the port a cycle, if the channels
    give as much.
    """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        order, kept = self._queue("channel", "beats", "last", "id")
        m.submodules.order = order
        pieces = self._cut(m, "ar", order.w_rdy)
        m.d.comb += [
            order.w_en.eq(pieces.next),
            order.w_data.eq(Cat(pieces.piece[name] for name, _ in kept)),
            self.idle.eq(~pieces.active & ~order.r_rdy),
        ]
        self._return(m, order, kept(order.r_data), self._channels)
        return m

    def _return(self, m: Module, order: fifo.SyncFIFO, piece: data.View, channels: list) -> None:
        beats = [_Gather(self._config.axi_bytes, piece_bytes(self._config)) for _ in channels]
        for index, (channel, gather) in enumerate(zip(channels, beats, strict=True)):
            m.submodules[f"gather_{index}"] = gather
            m.d.comb += [
                gather.valid.eq(channel.rvalid),
                gather.data.eq(channel.rdata),
                gather.error.eq(channel.rresp.any()),
                channel.rready.eq(gather.ready),
                gather.o.ready.eq(order.r_rdy & (piece.channel == index) & self.axi.rready),
            ]
        count, ends, taken = Signal.like(piece.beats), Signal(), Signal()
        beat = Signal(beats[0].o.payload.shape())
        m.d.comb += [
            beat.eq(Array(gather.o.payload.as_value() for gather in beats)[piece.channel]),
            ends.eq(count == piece.beats - 1),
            self.axi.rvalid.eq(
                order.r_rdy & Array(gather.o.valid for gather in beats)[piece.channel]
            ),
            self.axi.rid.eq(piece.id),
            self.axi.rdata.eq(beat.data),
            self.axi.rresp.eq(Mux(beat.error, SLVERR, OKAY)),
            self.axi.rlast.eq(piece.last & ends),
            taken.eq(self.axi.rvalid & self.axi.rready),
            order.r_en.eq(taken & ends),
        ]
        with m.If(taken):
            m.d.sync += count.eq(Mux(ends, 0, count + 1))


class _Gather(wiring.Component):
    """Makes beats of ``wide`` bytes from a channel's; two pieces of them wait until they are taken.

    Members
    -------
    valid, data, error, ready : a channel's beats
    o : stream of (data, error: of any of the beats)
    """

    def __init__(self, wide: int, piece: int):
        self._wide, self._depth = wide, 2 * piece // wide
        self._word = data.StructLayout({"data": 8 * wide, "error": 1})
        super().__init__(
            {
                "valid": In(1),
                "data": In(8 * BEAT_BYTES),
                "error": In(1),
                "ready": Out(1),
                "o": Out(stream.Signature(self._word)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.fifo = queue = fifo.SyncFIFO(width=self._word.size, depth=self._depth)
        parts = self._wide // BEAT_BYTES
        earlier = Signal(8 * BEAT_BYTES * (parts - 1))  # the first beat lowest
        error, count = Signal(), Signal(range(max(parts, 2)))
        ends, taken, word = Signal(), Signal(), Signal(self._word)
        m.d.comb += [
            ends.eq(count == parts - 1),
            self.ready.eq(queue.w_rdy | ~ends),
            taken.eq(self.valid & self.ready),
            word.data.eq(Cat(earlier, self.data)),
            word.error.eq(error | self.error),
            queue.w_en.eq(taken & ends),
            queue.w_data.eq(word),
            self.o.valid.eq(queue.r_rdy),
            self.o.payload.eq(queue.r_data),
            queue.r_en.eq(self.o.ready),
        ]
        with m.If(taken):
            m.d.sync += count.eq(Mux(ends, 0, count + 1))
            m.d.sync += error.eq(~ends & (error | self.error))
            if parts > 1:
                m.d.sync += earlier.eq(Cat(earlier, self.data)[8 * BEAT_BYTES :])
        return m
