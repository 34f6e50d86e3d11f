"""Pieces: a burst of the chip's memory port, cut where the pseudo-channel changes."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from isa.config import ChipConfig
from isa.hbm import BEAT_BYTES
from rtl.axi import ADDRESS_BITS, BURST_INCR, LENGTH_BITS, beat_shift
from rtl.dma import PAGE_BYTES
from rtl.hbm_burst import ADDRESS_CHANNEL, SIZE_BITS, refused
from rtl.hbm_map import field


def piece_bytes(config: ChipConfig) -> int:
    """Longest piece: what lies in one pseudo-channel at a time, or a page."""
    return min([PAGE_BYTES, *(1 << bit for bit in config.hbm_mapping.bits("channel"))])


def channel_bits(config: ChipConfig) -> int:
    return exact_log2(config.pseudo_channels)


def piece_layout(config: ChipConfig, id_bits: int) -> data.StructLayout:
    """A piece of a burst.

    channel, addr, len : its pseudo-channel, and the burst there (len: beats of 16 bytes - 1)
    burst : AXI's; not INCR if the whole burst is to be refused, which controllers do
    beats : of the port
    last : the burst ends here
    id : the burst's
    """
    beats = piece_bytes(config) // config.axi_bytes
    return data.StructLayout(
        {
            "channel": channel_bits(config),
            "addr": ADDRESS_BITS,
            "len": LENGTH_BITS,
            "burst": 2,
            "beats": beats.bit_length(),
            "last": 1,
            "id": id_bits,
        }
    )


class Pieces(wiring.Component):
    """Takes the address of a burst, and gives its pieces, one in each cycle with `next`. A new
    burst is taken when the last piece of the one before goes.

    Of a burst that is to be `refused` all pieces are: those inside of memory change nothing either.

    Members
    -------
    id, addr, len, size, burst, valid, ready : an address channel of AXI4
    memory_columns : size of the memory
    active, piece : there is a piece; it
    next : go on; only while active
    """

    def __init__(self, config: ChipConfig, id_bits: int):
        self._config = config
        super().__init__(
            {
                "id": In(id_bits),
                **{name: In(width) for name, width in ADDRESS_CHANNEL.items()},
                "valid": In(1),
                "memory_columns": In(SIZE_BITS),
                "ready": Out(1),
                "active": Out(1),
                "piece": Out(piece_layout(config, id_bits)),
                "next": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        shift = beat_shift(self._config)
        most = piece_bytes(self._config) >> shift
        narrow = self._config.axi_bytes // BEAT_BYTES  # beats of a channel in one of the port
        beat, left = Signal(ADDRESS_BITS - shift), Signal(range((1 << LENGTH_BITS) + 1))
        room, wrong = Signal(range(most + 1)), Signal()
        piece, identity = self.piece, Signal.like(self.id)
        address = Signal(ADDRESS_BITS)
        m.d.comb += [
            address.eq(beat << shift),
            room.eq(most - beat[: exact_log2(most)]),
            piece.addr.eq(address),
            piece.last.eq(left <= room),
            piece.beats.eq(Mux(piece.last, left, room)),
            piece.len.eq(piece.beats * narrow - 1),
            piece.burst.eq(Mux(wrong, 0, BURST_INCR)),
            piece.id.eq(identity),
            self.ready.eq(~self.active | (self.next & piece.last)),
        ]
        if len(piece.channel):
            m.d.comb += piece.channel.eq(field(self._config.hbm_mapping, "channel", address))
        with m.If(self.valid & self.ready):
            m.d.sync += [
                self.active.eq(1),
                beat.eq(self.addr >> shift),
                left.eq(self.len + 1),
                identity.eq(self.id),
                wrong.eq(refused(self, self._config.axi_bytes)),
            ]
        with m.Elif(self.next):
            m.d.sync += [
                self.active.eq(~piece.last),
                beat.eq(beat + piece.beats),
                left.eq(left - piece.beats),
            ]
        return m
