"""Burst: an AXI4 burst at an HBM controller, column by column."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from isa.hbm import BEAT_BYTES, COLUMN_BYTES
from rtl.axi import ADDRESS_BITS, BURST_INCR, LENGTH_BITS
from rtl.dma import PAGE_BYTES

ADDRESS_CHANNEL = {"addr": ADDRESS_BITS, "len": LENGTH_BITS, "size": 3, "burst": 2}
OKAY, SLVERR = 0, 2  # AXI's answers
SIZE_BITS = ADDRESS_BITS - exact_log2(COLUMN_BYTES) + 1  # of a memory, in columns
_BEAT_SHIFT = exact_log2(BEAT_BYTES)
_COLUMN_BEATS = COLUMN_BYTES // BEAT_BYTES


def step_layout(id_bits: int) -> data.StructLayout:
    """What a burst asks of one column.

    address : of the column's byte 0
    half, both : the first beat used; it is the first one of two
    last : the burst ends here
    error : the burst is refused: nothing is read or written
    id : the burst's
    """
    bits = {"address": ADDRESS_BITS, "half": 1, "both": 1, "last": 1, "error": 1, "id": id_bits}
    return data.StructLayout(bits)


def refused(request: Any, width: int) -> Value:
    """Whether a burst of beats of ``width`` bytes does not lie in memory, crosses 4 KiB, is not
    INCR, or has beats of another width. Of ``request`` are used addr, len, size, burst (AXI's) and
    memory_columns, the size of the memory."""
    shift, page_beats = exact_log2(width), PAGE_BYTES // width
    first = request.addr >> shift
    end = (first + request.len + 1) << shift
    return Cat(
        first[: exact_log2(page_beats)] + request.len >= page_beats,
        end > request.memory_columns << exact_log2(COLUMN_BYTES),
        request.burst != BURST_INCR,
        request.size != shift,
    ).any()


def ask(m: Module, axi: Any, prefix: str, taker: Any) -> None:
    """Connect an address channel (ar, aw) of a port to who takes its bursts: `Burst`, `Pieces`."""
    for name in ("id", *ADDRESS_CHANNEL, "valid"):
        m.d.comb += getattr(taker, name).eq(getattr(axi, f"{prefix}{name}"))
    m.d.comb += getattr(axi, f"{prefix}ready").eq(taker.ready)


class Burst(wiring.Component):
    """Takes the address of a burst, and gives the columns that it touches, one in each cycle with
    `next`. A new burst is taken when the last column of the one before goes.

    Bursts that are `refused` are to be answered with SLVERR. An address inside a beat is taken as
    the beat's.

    Members
    -------
    id, addr, len, size, burst, valid, ready : an address channel of AXI4
    memory_columns : size of the memory
    active : there is a column
    step : it
    left : beats from its first one on, to the end of the burst
    next : go on; only while active
    """

    def __init__(self, id_bits: int):
        self._id_bits = id_bits
        super().__init__(
            {
                "id": In(id_bits),
                **{name: In(width) for name, width in ADDRESS_CHANNEL.items()},
                "valid": In(1),
                "ready": Out(1),
                "memory_columns": In(SIZE_BITS),
                "active": Out(1),
                "step": Out(step_layout(id_bits)),
                "left": Out(range((1 << LENGTH_BITS) + 1)),
                "next": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat = Signal(ADDRESS_BITS - _BEAT_SHIFT)
        error, identity, count = Signal(), Signal(self._id_bits), Signal(2)
        step = self.step
        m.d.comb += [
            step.address.eq(beat[1:] << exact_log2(COLUMN_BYTES)),
            step.half.eq(beat[0]),
            step.both.eq(~beat[0] & (self.left != 1)),
            count.eq(Mux(step.both, _COLUMN_BEATS, 1)),
            step.last.eq(self.left == count),
            step.error.eq(error),
            step.id.eq(identity),
            self.ready.eq(~self.active | (self.next & step.last)),
        ]
        with m.If(self.valid & self.ready):
            m.d.sync += [
                self.active.eq(1),
                beat.eq(self.addr >> _BEAT_SHIFT),
                self.left.eq(self.len + 1),
                identity.eq(self.id),
                error.eq(refused(self, BEAT_BYTES)),
            ]
        with m.Elif(self.next):
            m.d.sync += [
                self.active.eq(~step.last),
                beat.eq(beat + count),
                self.left.eq(self.left - count),
            ]
        return m
