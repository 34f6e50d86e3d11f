"""Pieces: a burst at the chip's port is cut into bursts of the pseudo-channels, all of it, once."""

from amaranth.hdl import Signal

from formal.bench import Bench, implies
from formal.proof import Mutant, proof
from formal.sizes import TWO_CHANNELS
from isa.hbm import BEAT_BYTES, COLUMN_BYTES
from rtl.axi import BURST_INCR
from rtl.dma import PAGE_BYTES
from rtl.hbm_pieces import Pieces

# From the bottom: byte 5 bits, group 2, column 1, channel 1 (bit 8), column 4, bank 2, row.
_TWO = TWO_CHANNELS.replace(hbm_map="row bank column:4 channel^row column:1 group")
_CHANNEL_BIT, _ROW_BIT = 8, 15
_PIECE_BYTES = 1 << _CHANNEL_BIT
_ADDRESS_BITS = 17
_ID_BITS = 2


@proof(
    Pieces,
    Mutant("room.eq(most - beat[: exact_log2(most)])", "room.eq(most)"),
    Mutant("piece.last.eq(left <= room)", "piece.last.eq(left < room)"),
    Mutant("refused(self, self._config.axi_bytes)", "refused(self, BEAT_BYTES)"),
    Mutant("left.eq(left - piece.beats)", "left.eq(left - 1)"),
    Mutant("piece.len.eq(piece.beats * narrow - 1)", "piece.len.eq(piece.beats - 1)"),
    depth=8,
)
def cut(bench: Bench, unit: type) -> None:
    """Pieces cover the burst byte by byte, in order; none crosses into another channel, hence none
    a page, and none is shorter than it could be; all of a burst that must be refused are."""
    pieces = bench.add("pieces", unit(_TWO, _ID_BITS))
    m, piece, width = bench.m, pieces.piece, _TWO.axi_bytes
    memory = bench.free("memory", _ADDRESS_BITS)  # columns
    m.d.comb += [
        pieces.addr.eq(bench.free("address", _ADDRESS_BITS)),
        pieces.memory_columns.eq(memory),
    ]
    bench.assume(implies(pieces.next, pieces.active))
    taken, ended = pieces.valid & pieces.ready, pieces.next & piece.last
    busy, refused, identity = Signal(), Signal(), Signal(_ID_BITS)
    address, left, size = Signal(_ADDRESS_BITS + 1), Signal(14), Signal(14)
    first, burst_bytes = Signal(_ADDRESS_BITS), Signal(14)
    m.d.comb += [
        first.eq(pieces.addr // width * width),
        burst_bytes.eq((pieces.len + 1) * width),
        size.eq(piece.beats * width),
    ]
    odd = (pieces.burst != BURST_INCR) | (1 << pieces.size != width)
    crosses = first % PAGE_BYTES + burst_bytes > PAGE_BYTES
    outside = first + burst_bytes > COLUMN_BYTES * memory
    with m.If(taken):
        m.d.sync += [
            busy.eq(1),
            address.eq(first),
            left.eq(burst_bytes),
            identity.eq(pieces.id),
            refused.eq(odd | crosses | outside),
        ]
    with m.Elif(pieces.next):
        m.d.sync += [busy.eq(~ended), address.eq(address + size), left.eq(left - size)]
    to_channel = _PIECE_BYTES - address % _PIECE_BYTES
    bench.prove(pieces.active == busy)
    bench.prove(pieces.ready == (~busy | ended))
    with m.If(busy):
        bench.prove(piece.addr == address)
        bench.prove((piece.len + 1) * BEAT_BYTES == size)
        bench.prove((size != 0) & (size <= left) & (size <= to_channel))
        bench.prove((size == left) | (size == to_channel))
        bench.prove(piece.last == (size == left))
        bench.prove(piece.channel == address[_CHANNEL_BIT] ^ address[_ROW_BIT])
        bench.prove(piece.id == identity)
        bench.prove((piece.burst == BURST_INCR) == ~refused)
    bench.prove(bench.steady(pieces.active, pieces.next, piece))
    bench.reach(ended & (size < to_channel) & bench.past(pieces.next) & ~refused)
    bench.reach(busy & refused & bench.past(busy))
