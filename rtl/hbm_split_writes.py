"""SplitWrites: the chip's write bursts over all pseudo-channels."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from isa.hbm import BEAT_BYTES
from rtl.axi import ID_BITS, AxiPort
from rtl.hbm_burst import OKAY, SLVERR
from rtl.hbm_pieces import Pieces, piece_bytes, piece_layout
from rtl.hbm_split_reads import ORDER_DEPTH, channel_names, channel_port


class SplitWrites(wiring.Component):
    """Each burst is cut into pieces (`Pieces`), which go to the controllers one a cycle; its beats
    follow them. A burst is answered when all of its pieces are, bursts in the order of their
    addresses; with an error if any piece has one.

    Beats are taken from 2 cycles after their address on. Throughput: one beat of the port a cycle,
    if the channels take as much; two pieces of every channel can wait for it.

    Members
    -------
    axi : the write channels of the chip's port (master's point of view); the others idle
    pc0, pc1, … : the write channels of the controllers' ports
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        channels = {name: Out(channel_port()) for name in channel_names(config)}
        super().__init__({"axi": In(AxiPort(config)), **channels})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.pieces = pieces = Pieces(self._config, ID_BITS)
        for name in ("id", "addr", "len", "size", "burst", "valid"):
            m.d.comb += getattr(pieces, name).eq(getattr(self.axi, f"aw{name}"))
        route, ends = self._queue("channel", "beats"), self._queue("channel", "last", "id")
        m.submodules.route, route_layout = route
        m.submodules.ends, ends_layout = ends
        queues = (route, ends)
        piece, channels = pieces.piece, [getattr(self, n) for n in channel_names(self._config)]
        offered = Signal()
        m.d.comb += [
            self.axi.awready.eq(pieces.ready),
            offered.eq(pieces.active & route[0].w_rdy & ends[0].w_rdy),
            pieces.next.eq(offered & Array(c.awready for c in channels)[piece.channel]),
        ]
        for index, channel in enumerate(channels):
            m.d.comb += [
                channel.awaddr.eq(piece.addr),
                channel.awlen.eq(piece.len),
                channel.awsize.eq((BEAT_BYTES - 1).bit_length()),
                channel.awburst.eq(piece.burst),
                channel.awvalid.eq(offered & (piece.channel == index)),
            ]
        for queue, layout in queues:
            m.d.comb += [
                queue.w_en.eq(pieces.next),
                queue.w_data.eq(Cat(piece[name] for name, _ in layout)),
            ]
        self._pass_beats(m, route[0], route_layout(route[0].r_data), channels)
        self._answer(m, ends[0], ends_layout(ends[0].r_data), channels)
        return m

    def _queue(self, *names: str) -> tuple[fifo.SyncFIFO, data.StructLayout]:
        """For these fields of the pieces under way."""
        whole = piece_layout(self._config, ID_BITS)
        layout = data.StructLayout({name: whole[name].shape for name in names})
        return fifo.SyncFIFO(width=layout.size, depth=ORDER_DEPTH), layout

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
