"""SplitReads: the chip's read bursts over all pseudo-channels, and their beats back in order."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from isa.hbm import BEAT_BYTES
from rtl.axi import ID_BITS, Axi4, AxiPort
from rtl.hbm_burst import OKAY, SLVERR
from rtl.hbm_pieces import Pieces, piece_bytes, piece_layout

ORDER_DEPTH = 32  # pieces under way


def channel_names(config: ChipConfig) -> list[str]:
    """Members that stand for the pseudo-channels, in the order of their numbers."""
    return [f"pc{index}" for index in range(config.pseudo_channels)]


def channel_port() -> Axi4:
    """What a controller of one pseudo-channel is asked; all with id 0."""
    return Axi4(BEAT_BYTES, 1)


class SplitReads(wiring.Component):
    """Each burst is cut into pieces (`Pieces`), which go to the controllers one a cycle. Beats come
    back in the order of the requests, also between ids; a piece of every channel can wait complete.

    Latency: 1 cycle to the controller; back, a beat of the port is there 1 cycle after the last of
    the controller's beats that make it. Throughput: one beat of the port a cycle, if the channels
    give as much.

    Members
    -------
    axi : the read channels of the chip's port (master's point of view); the others idle
    pc0, pc1, … : the read channels of the controllers' ports
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        channels = {name: Out(channel_port()) for name in channel_names(config)}
        super().__init__({"axi": In(AxiPort(config)), **channels})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.pieces = pieces = Pieces(self._config, ID_BITS)
        for name in ("id", "addr", "len", "size", "burst", "valid"):
            m.d.comb += getattr(pieces, name).eq(getattr(self.axi, f"ar{name}"))
        m.d.comb += self.axi.arready.eq(pieces.ready)
        kept = data.StructLayout(
            {
                name: piece_layout(self._config, ID_BITS)[name].shape
                for name in ("channel", "beats", "last", "id")
            }
        )
        m.submodules.order = order = fifo.SyncFIFO(width=kept.size, depth=ORDER_DEPTH)
        piece, channels = pieces.piece, [getattr(self, n) for n in channel_names(self._config)]
        for index, channel in enumerate(channels):
            m.d.comb += [
                channel.araddr.eq(piece.addr),
                channel.arlen.eq(piece.len),
                channel.arsize.eq((BEAT_BYTES - 1).bit_length()),
                channel.arburst.eq(piece.burst),
                channel.arvalid.eq(pieces.active & order.w_rdy & (piece.channel == index)),
            ]
        ready = Array(channel.arready for channel in channels)[piece.channel]
        m.d.comb += [
            pieces.next.eq(pieces.active & order.w_rdy & ready),
            order.w_en.eq(pieces.next),
            order.w_data.eq(Cat(piece[name] for name, _ in kept)),
        ]
        self._return(m, order, kept(order.r_data), channels)
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
