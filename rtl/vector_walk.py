"""Walker: the addresses of an operand's vectors, row by row."""

from amaranth.hdl import Const, Module, Mux, Signal, Value, unsigned
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

    ``vector_bits``: of numbers of vectors in a row; ``repeats``, ``enters``: `walk.repeat`,
    `walk.skip` may be other than 0. What is not wanted is not built.

    Members
    -------
    walk : see `walk_layout`
    start : pulse, begin
    step : distance from `addr` to the next vector's address, may depend on `addr`
    valid, addr : the present vector's address
    first, last, end : it is the first of its walk along a row, the last one, the last one of all
    next : go on; only while valid
    """

    def __init__(
        self,
        address_bits: int,
        vector_bits: int = VECTOR_BITS,
        repeats: bool = True,
        enters: bool = True,
    ):
        self._bits, self._vector_bits = address_bits, vector_bits
        self._repeats, self._enters = repeats, enters
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
        forward, row_next = Signal(bits), Signal(bits)
        # Nothing of these counts before `start`: only `active` has a reset.
        row_addr = Signal(bits, reset_less=True)
        position = Signal(self._vector_bits, reset_less=True)
        left, rows_left = Signal.like(position), Signal(ROW_BITS, reset_less=True)
        to_entry, offset = self._entry(m, forward - row_addr)
        m.d.comb += [
            forward.eq(self.addr + self.step),
            row_next.eq(row_addr + Mux(self._row_is_over(m), walk.stride, 0)),
            self.valid.eq(active & ~to_entry),
            self.first.eq(left == walk.last_vector),
            self.last.eq(left == 0),
            self.end.eq(self.last & (rows_left == 0)),
        ]
        with m.If(self.start):
            m.d.sync += [
                active.eq(1),
                row_addr.eq(walk.base),
                self.addr.eq(walk.base),
                position.eq(0),
                left.eq(walk.last_vector),
                rows_left.eq(walk.rows - 1),
            ]
        with m.Elif(active & to_entry):
            m.d.sync += [self.addr.eq(forward), position.eq(position + 1)]
        with m.Elif(self.next & self.last):
            m.d.sync += [
                active.eq(rows_left != 0),
                row_addr.eq(row_next),
                self.addr.eq(row_next + offset),
                position.eq(walk.skip),
                left.eq(walk.last_vector),
                rows_left.eq(rows_left - 1),
            ]
        with m.Elif(self.next):
            m.d.sync += left.eq(left - 1)
            with m.If(position == walk.last_vector):
                m.d.sync += [self.addr.eq(row_addr), position.eq(0)]
            with m.Else():
                m.d.sync += [self.addr.eq(forward), position.eq(position + 1)]
        return m

    def _entry(self, m: Module, walked: Value) -> tuple[Value, Value]:
        """Whether the first row's entry is still to be walked to, and its distance from the row's
        vector 0; ``walked``: that of the vector behind this one."""
        if not self._enters:
            return Const(0), Const(0)
        to_skip = Signal(self._vector_bits, reset_less=True)
        offset = Signal(self._bits, reset_less=True)
        with m.If(self.start):
            m.d.sync += [to_skip.eq(self.walk.skip), offset.eq(0)]
        with m.Elif(to_skip != 0):
            m.d.sync += [to_skip.eq(to_skip - 1), offset.eq(walked)]
        return to_skip != 0, offset

    def _row_is_over(self, m: Module) -> Value:
        """Whether this walk along a row is the last one of that row."""
        if not self._repeats:
            return Const(1)
        repeats, left = Signal(ROW_BITS), Signal(ROW_BITS, reset_less=True)
        m.d.comb += repeats.eq(Mux(self.walk.repeat == 0, 0, self.walk.repeat - 1))
        with m.If(self.start):
            m.d.sync += left.eq(repeats)
        with m.Elif(self.next & self.last):
            m.d.sync += left.eq(Mux(left == 0, repeats, left - 1))
        return left == 0
