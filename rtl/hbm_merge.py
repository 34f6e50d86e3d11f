"""Merge: writes of single bytes into memory whose words are protected as a whole."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from isa.hbm import BEAT_BYTES, HbmGeneration
from isa.secded import WORD_BYTES
from rtl.hbm_port import place_layout


class Merge(wiring.Component):
    """A column of which some words are written in part is read first, and gets the new bytes.

    It waits until all earlier writes have been made, then takes the latency of a read; nothing else
    is written meanwhile.

    Members
    -------
    beat, first, half, data, strb : a beat of a column comes; it is the column's first, the second
        half of it
    partial : with this beat, or an earlier one of the column, some word is not written as a whole
    start, place : the column is complete, and is to be merged
    quiet : no write is under way
    fetch : stream of places to be read
    fetched, old, failed : a beat that was read, the first half first; it was beyond repair
    write, new : that beat with the new bytes in it, in the cycle in which it comes
    late : of `write`: it is the second half
    over, bad : all is merged, or was not to be read; until `taken`
    taken : forget it
    busy : from `start` to `taken`
    """

    def __init__(self, generation: HbmGeneration):
        bits = 8 * BEAT_BYTES
        place = place_layout(generation)
        ones_in = ("beat", "first", "half", "start", "quiet", "fetched", "failed", "taken")
        ones_out = ("partial", "write", "late", "over", "bad", "busy")
        super().__init__(
            {
                **{name: In(1) for name in ones_in},
                **{name: Out(1) for name in ones_out},
                "data": In(bits),
                "strb": In(BEAT_BYTES),
                "place": In(place),
                "fetch": Out(stream.Signature(place)),
                "old": In(bits),
                "new": Out(bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        data = [Signal(8 * BEAT_BYTES, name=f"data_{half}") for half in range(2)]
        strb = [Signal(BEAT_BYTES, name=f"strb_{half}") for half in range(2)]
        earlier, asked = Signal(), Signal()
        words = [self.strb.word_select(i, WORD_BYTES) for i in range(BEAT_BYTES // WORD_BYTES)]
        m.d.comb += self.partial.eq(
            Cat(word.any() & ~word.all() for word in words).any() | (earlier & ~self.first)
        )
        with m.If(self.beat):
            m.d.sync += earlier.eq(self.partial)
            for half in range(2):
                with m.If(self.half == half):
                    m.d.sync += [data[half].eq(self.data), strb[half].eq(self.strb)]
                with m.Elif(self.first):
                    m.d.sync += strb[half].eq(0)
        m.d.comb += [
            self.fetch.valid.eq(self.busy & self.quiet & ~asked),
            self.fetch.payload.eq(self.place),
            self.write.eq(self.fetched),
        ]
        put = Mux(self.late, data[1], data[0]), Mux(self.late, strb[1], strb[0])
        for byte in range(BEAT_BYTES):
            new, old = put[0].word_select(byte, 8), self.old.word_select(byte, 8)
            m.d.comb += self.new.word_select(byte, 8).eq(Mux(put[1][byte], new, old))
        with m.If(self.start):
            m.d.sync += self.busy.eq(1)
        with m.If(self.fetch.valid & self.fetch.ready):
            m.d.sync += asked.eq(1)
        with m.If(self.fetched):
            m.d.sync += [
                self.late.eq(~self.late),
                self.over.eq(self.late),
                self.bad.eq(self.bad | self.failed),
            ]
        with m.If(self.taken):
            m.d.sync += [x.eq(0) for x in (self.busy, asked, self.over, self.bad)]
        return m
