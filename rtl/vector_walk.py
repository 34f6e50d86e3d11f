"""Walker: the addresses of an operand's vectors, row by row."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

VECTOR_BITS = 20  # numbers of vectors in a row
ROW_BITS = 16


def walk_layout(address_bits: int) -> data.StructLayout:
    """Where a walk goes; it must not change while the walk is on.

    base, stride : address of row 0, distance of rows
    repeat : walks along each row before the next one (0 counts as 1)
    rows : number of walks along rows
    last_vector : vectors in a row, less one
    skip : the vector of a row with which each walk begins; behind the last one comes vector 0
    """
    return data.StructLayout(
        {
            "base": unsigned(address_bits),
            "stride": unsigned(address_bits),
            "repeat": unsigned(ROW_BITS),
            "rows": unsigned(ROW_BITS),
            "last_vector": unsigned(VECTOR_BITS),
            "skip": unsigned(VECTOR_BITS),
        }
    )


class Walker(wiring.Component):
    """Steps through the vectors of an operand; addresses wrap at `address_bits`.

    Latency: the first address comes 1 cycle after `start` (`skip` cycles later if rows are entered
    in the middle: the way there is walked once); throughput one address per cycle.

    Members
    -------
    walk : see `walk_layout`
    start : pulse, begin
    step : distance from `addr` to the next vector's address, may depend on `addr`
    valid, addr : the present vector's address
    first, last, end : it is the first of its walk along a row, the last one, the last one of all
    next : go on; only while valid
    """

    def __init__(self, address_bits: int):
        self._bits = address_bits
        super().__init__(
            {
                "walk": In(walk_layout(address_bits)),
                "start": In(1),
                "step": In(address_bits),
                "valid": Out(1),
                "addr": Out(address_bits),
                "first": Out(1),
                "last": Out(1),
                "end": Out(1),
                "next": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        walk, bits = self.walk, self._bits
        active = Signal()
        row_addr, offset = Signal(bits), Signal(bits)  # the row's vector 0; from there to its entry
        position, left = Signal(VECTOR_BITS), Signal(VECTOR_BITS)
        to_skip = Signal(VECTOR_BITS)
        rows_left, repeats_left = Signal(ROW_BITS), Signal(ROW_BITS)
        repeats, forward, row_next = Signal(ROW_BITS), Signal(bits), Signal(bits)
        m.d.comb += [
            repeats.eq(Mux(walk.repeat == 0, 0, walk.repeat - 1)),
            forward.eq(self.addr + self.step),
            row_next.eq(row_addr + Mux(repeats_left == 0, walk.stride, 0)),
            self.valid.eq(active & (to_skip == 0)),
            self.first.eq(left == walk.last_vector),
            self.last.eq(left == 0),
            self.end.eq(self.last & (rows_left == 0)),
        ]
        with m.If(self.start):
            m.d.sync += [
                active.eq(1),
                row_addr.eq(walk.base),
                self.addr.eq(walk.base),
                offset.eq(0),
                position.eq(0),
                left.eq(walk.last_vector),
                to_skip.eq(walk.skip),
                rows_left.eq(walk.rows - 1),
                repeats_left.eq(repeats),
            ]
        with m.Elif(active & (to_skip != 0)):
            m.d.sync += [self.addr.eq(forward), offset.eq(forward - row_addr)]
            m.d.sync += [position.eq(position + 1), to_skip.eq(to_skip - 1)]
        with m.Elif(self.next & self.last):
            m.d.sync += [
                active.eq(rows_left != 0),
                row_addr.eq(row_next),
                self.addr.eq(row_next + offset),
                position.eq(walk.skip),
                left.eq(walk.last_vector),
                rows_left.eq(rows_left - 1),
                repeats_left.eq(Mux(repeats_left == 0, repeats, repeats_left - 1)),
            ]
        with m.Elif(self.next):
            m.d.sync += left.eq(left - 1)
            with m.If(position == walk.last_vector):
                m.d.sync += [self.addr.eq(row_addr), position.eq(0)]
            with m.Else():
                m.d.sync += [self.addr.eq(forward), position.eq(position + 1)]
        return m
