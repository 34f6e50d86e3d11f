"""SplitWrites: the chip's write bursts over all pseudo-channels."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from isa.hbm import BEAT_BYTES
from rtl.hbm_burst import OKAY, SLVERR
from rtl.hbm_pieces import piece_bytes
from rtl.hbm_split import Split


class SplitWrites(Split):
    """Pieces of the bursts go to the controllers one a cycle; the beats follow them. A burst is
    answered when all of its pieces are, bursts in the order of their addresses; with an error if
    any piece has one.

    Beats are taken from 2 cycles after their address on. Throughput: one beat of the port a cycle,
    if the channels take as much; two pieces of every channel can wait for it.
    """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        route, routed = self._queue("channel", "beats")
        ends, ended = self._queue("channel", "last", "id")
        m.submodules.route, m.submodules.ends = route, ends
        pieces = self._cut(m, "aw", route.w_rdy & ends.w_rdy)
        for queue, layout in ((route, routed), (ends, ended)):
            m.d.comb += [
                queue.w_en.eq(pieces.next),
                queue.w_data.eq(Cat(pieces.piece[name] for name, _ in layout)),
            ]
        m.d.comb += self.idle.eq(~pieces.active & ~ends.r_rdy)
        self._pass_beats(m, route, routed(route.r_data), self._channels)
        self._answer(m, ends, ended(ends.r_data), self._channels)
        return m

    def _pass_beats(self, m: Module, route: fifo.SyncFIFO, piece: data.View, channels: list):
        """Beats to the channel of their piece."""
        beats = [_Spread(self._config.axi_bytes, piece_bytes(self._config)) for _ in channels]
        count, last, taken = Signal.like(piece.beats), Signal(), Signal()
        for index, (channel, spread) in enumerate(zip(channels, beats, strict=True)):
            m.submodules[f"spread_{index}"] = spread
            m.d.comb += [
                spread.i.valid.eq(self.axi.wvalid & route.r_rdy & (piece.channel == index)),
                spread.i.payload.eq(Cat(self.axi.wdata, self.axi.wstrb, last)),
                channel.wdata.eq(spread.data),
                channel.wstrb.eq(spread.strb),
                channel.wlast.eq(spread.last),
                channel.wvalid.eq(spread.valid),
                spread.ready.eq(channel.wready),
            ]
        ready = Array(spread.i.ready for spread in beats)[piece.channel]
        m.d.comb += [
            last.eq(count == piece.beats - 1),
            self.axi.wready.eq(route.r_rdy & ready),
            taken.eq(self.axi.wvalid & self.axi.wready),
            route.r_en.eq(taken & last),
        ]
        with m.If(taken):
            m.d.sync += count.eq(Mux(last, 0, count + 1))

    def _answer(self, m: Module, ends: fifo.SyncFIFO, piece: data.View, channels: list) -> None:
        error, here, wrong = Signal(), Signal(), Signal()
        m.d.comb += [
            here.eq(ends.r_rdy & Array(c.bvalid for c in channels)[piece.channel]),
            wrong.eq(error | Array(c.bresp.any() for c in channels)[piece.channel]),
            self.axi.bvalid.eq(here & piece.last),
            self.axi.bid.eq(piece.id),
            self.axi.bresp.eq(Mux(wrong, SLVERR, OKAY)),
            ends.r_en.eq(here & (~piece.last | self.axi.bready)),
        ]
        with m.If(ends.r_en):
            m.d.sync += error.eq(wrong & ~piece.last)
        for index, channel in enumerate(channels):
            m.d.comb += channel.bready.eq(ends.r_en & (piece.channel == index))


class _Spread(wiring.Component):
    """Cuts beats of ``wide`` bytes into a channel's; two pieces of them wait until they are taken.

    Members
    -------
    i : stream of (data, strb, last: of the piece)
    valid, data, strb, last, ready : a channel's beats
    """

    def __init__(self, wide: int, piece: int):
        self._wide, self._depth = wide, 2 * piece // wide
        self._word = data.StructLayout({"data": 8 * wide, "strb": wide, "last": 1})
        super().__init__(
            {
                "i": In(stream.Signature(self._word)),
                "valid": Out(1),
                "data": Out(8 * BEAT_BYTES),
                "strb": Out(BEAT_BYTES),
                "last": Out(1),
                "ready": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.fifo = queue = fifo.SyncFIFO(width=self._word.size, depth=self._depth)
        parts = self._wide // BEAT_BYTES
        part, ends, word = Signal(range(max(parts, 2))), Signal(), self._word(queue.r_data)
        m.d.comb += [
            self.i.ready.eq(queue.w_rdy),
            queue.w_en.eq(self.i.valid),
            queue.w_data.eq(self.i.payload),
            ends.eq(part == parts - 1),
            self.valid.eq(queue.r_rdy),
            self.data.eq(word.data.word_select(part, 8 * BEAT_BYTES)),
            self.strb.eq(word.strb.word_select(part, BEAT_BYTES)),
            self.last.eq(word.last & ends),
            queue.r_en.eq(self.ready & ends),
        ]
        with m.If(self.valid & self.ready):
            m.d.sync += part.eq(Mux(ends, 0, part + 1))
        return m
