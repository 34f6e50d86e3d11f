"""Between beats of the memory and lines of the SRAM: rows that begin at any byte of a beat."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from rtl.axi import beat_shift
from rtl.dma import COMMAND, last_byte

_BYTE_SHIFT = 3


def _bits(count: Value) -> Value:
    """A number of bytes as one of bits."""
    return count << _BYTE_SHIFT


def _ones(bits: int) -> Const:
    return Const((1 << bits) - 1, bits)  # -1 would be signed, and shift ones in


def _tail(command, shift: int) -> Value:
    """Bytes of the last of the beats that a row would take if it began with one, behind the row."""
    return (-command.bytes)[:shift]


class LineFiller(wiring.Component):
    """Makes lines of the beats of rows: each row begins a line, zeros fill its last granule.

    A row takes as many cycles as its bytes have beats, and one more if it does not begin with a
    beat, in which a beat is taken if there is a further one. A line is offered one cycle after
    its last beat, or after that further cycle. Lines not taken stop the beats.

    Members
    -------
    start : takes `command`, when no line is left to be filled
    lead : bytes in front of the row in its first beat; stable from row to row
    i : stream of beats
    o : stream of ``data``, the line, and ``mask``, a bit for each granule that belongs to the row
    moves : a beat is taken, or the last bytes of the beat before go into a line
    row_over : in this cycle the row's last bytes go into their line
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        granules = config.line_bytes // config.byte_vector_bytes
        line = data.StructLayout({"data": 8 * config.line_bytes, "mask": granules})
        super().__init__(
            {
                "start": In(1),
                "command": In(COMMAND),
                "lead": In(beat_shift(config)),
                "i": In(stream.Signature(unsigned(8 * config.axi_bytes))),
                "o": Out(stream.Signature(line)),
                "moves": Out(1),
                "row_over": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shift, width = beat_shift(self._config), self._config.axi_bytes
        parts = self._config.line_bytes // width
        row, rest = (Signal(len(self.command.bytes) - shift, name=name) for name in ("row", "rest"))
        tail, held, part = Signal(shift), Signal(8 * width), Signal(range(parts))
        primed, aligned, last = Signal(), Signal(), Signal()  # primed: bytes of the row are held
        alone, makes, room = Signal(), Signal(), Signal()  # a step without a beat, with bytes
        fills = Signal()
        m.d.comb += [
            aligned.eq(self.lead == 0),
            last.eq(rest == 0),
            alone.eq(primed & last & (self.lead <= tail)),
            makes.eq(primed | aligned),
            room.eq(~makes | ~self.o.valid | self.o.ready),
            self.i.ready.eq(room & ~alone),
            self.moves.eq(room & (self.i.valid | alone)),
            fills.eq(self.moves & makes),
            self.row_over.eq(fills & last),
        ]
        fresh, kept = Signal(8 * width), Signal(8 * width)
        places, tail_bits = Signal(shift + 1), Signal(8 * width)
        m.d.comb += [
            places.eq(Mux(aligned, width, self.lead)),
            tail_bits.eq(_ones(8 * width) >> Mux(last, _bits(tail), 0)),
            fresh.eq(Cat(held, self.i.payload) >> _bits(places)),
            kept.eq(fresh & tail_bits),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.moves):
            m.d.sync += [held.eq(self.i.payload), primed.eq(~aligned)]
        with m.If(fills):
            m.d.sync += [
                self.o.valid.eq(last | (part == parts - 1)),
                part.eq(part + 1),
                rest.eq(rest - 1),
            ]
        self._fill(m, fills, part, kept, tail_bits)
        with m.If(self.row_over):
            m.d.sync += [part.eq(0), rest.eq(row), primed.eq(0)]
        with m.If(self.start):
            behind = last_byte(self.command)[shift:]
            m.d.sync += [row.eq(behind), rest.eq(behind), tail.eq(_tail(self.command, shift))]
        return m

    def _fill(self, m, moves, part, kept, tail_bits):
        """With ``moves`` put bytes into their part of the line, and note which granules they
        reach."""
        width, granule = self._config.axi_bytes, self._config.byte_vector_bytes
        parts, wide = self._config.line_bytes // width, max(1, granule // width)
        words = [Signal(8 * width, name=f"word_{index}") for index in range(parts)]
        mask = [Signal(name=f"mask_{index}") for index in range(len(self.o.payload.mask))]
        m.d.comb += [self.o.payload.data.eq(Cat(words)), self.o.payload.mask.eq(Cat(mask))]
        for index, word in enumerate(words):
            with m.If(moves & (part == index)):
                m.d.sync += word.eq(kept)
            if index % wide:  # a granule of several parts, of which the row may lack the last
                with m.Elif(moves & (part == index - index % wide)):
                    m.d.sync += word.eq(0)
        for index, bit in enumerate(mask):
            first, at = divmod(index * granule, width)
            with m.If(moves & (part == first)):
                m.d.sync += bit.eq(tail_bits[8 * at])
            if first:
                with m.Elif(moves & (part == 0)):
                    m.d.sync += bit.eq(0)


class LineCutter(wiring.Component):
    """Makes beats of the lines of rows: each row begins a line. Combinational, but for what the
    beat before has left over; one beat a cycle.

    Members
    -------
    start : takes `command`, when no beat is left
    lead : bytes in front of the row in its first beat
    first, last : the beat is the first, the last one of its row
    i : stream of lines
    o : stream of ``data``, the beat, and ``strb``, a bit for each of its bytes inside the row
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        width = config.axi_bytes
        super().__init__(
            {
                "start": In(1),
                "command": In(COMMAND),
                "lead": In(beat_shift(config)),
                "first": In(1),
                "last": In(1),
                "i": In(stream.Signature(unsigned(8 * config.line_bytes))),
                "o": Out(stream.Signature(data.StructLayout({"data": 8 * width, "strb": width}))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        shift, width = beat_shift(self._config), self._config.axi_bytes
        parts = self._config.line_bytes // width
        tail, held, part = Signal(shift), Signal(8 * width), Signal(range(parts))
        needs, taken, fresh = Signal(), Signal(), Signal(8 * width)
        places, behind = Signal(shift + 1), Signal(shift)
        chunk = self.i.payload.word_select(part, 8 * width)
        ones = _ones(width)
        m.d.comb += [
            # The row's last beat may hold nothing but what the one before has left over.
            needs.eq(~self.last | (self.lead <= tail)),
            taken.eq(self.o.valid & self.o.ready),
            fresh.eq(Mux(needs, chunk, 0)),  # what is offered stays as it is
            places.eq(width - self.lead),
            behind.eq(tail - self.lead),
            self.o.valid.eq(self.i.valid | ~needs),
            self.o.payload.data.eq(Cat(held, fresh) >> _bits(places)),
            self.o.payload.strb.eq(
                (ones << Mux(self.first, self.lead, 0)) & (ones >> Mux(self.last, behind, 0))
            ),
            self.i.ready.eq(taken & Mux(self.last, needs | (part != 0), part == parts - 1)),
        ]
        with m.If(taken):
            m.d.sync += [held.eq(fresh), part.eq(Mux(self.last, 0, part + 1))]
        with m.If(self.start):
            m.d.sync += tail.eq(_tail(self.command, shift))
        return m
