"""Operand: fetches a source of the vector unit, vector by vector."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import F32_BYTES, ChipConfig
from rtl.accumulator import AccumulatorPort
from rtl.float import wire
from rtl.ports import ReadPort
from rtl.timing import OPERAND_DEPTH as _DEPTH
from rtl.vector_settings import BYTE_KINDS, Kind
from rtl.vector_walk import VECTOR_BITS, Walker, walk_layout


def operand_address_bits(config: ChipConfig) -> int:
    """Bits of a byte address, in SRAM or in accumulators thought of as bytes."""
    acc_bytes = config.acc_rows * config.cols * F32_BYTES
    return (max(config.sram_bytes, acc_bytes) - 1).bit_length()


def vector_bits(config: ChipConfig) -> int:
    """Bits of a vector's number in a row that lies in the SRAM."""
    return (config.sram_bytes // config.byte_vector_bytes - 1).bit_length()


def vector_layout(lanes: int) -> data.StructLayout:
    """A vector as it is stored, lane 0 in the lowest bits, and its place in its row."""
    return data.StructLayout({"lanes": unsigned(32 * lanes), "first": 1, "last": 1})


class Operand(wiring.Component):
    """Reads one source, vector by vector; a line that holds several vectors in turn is read once.

    Latency: the first vector comes 3 cycles after `start`; throughput one vector a cycle;
    back-pressure on `o`, up to 4 vectors are read ahead. Above a vector of narrower elements, what
    is in `o` is undefined.

    Members
    -------
    start : pulse, begin a walk
    walk : rows as in `walk_layout`, in bytes (accumulators: a row is 4 C bytes)
    kind : type of the source; of COL, lane 0 of each row's first vector goes to all lanes (not
        `with_acc`)
    panel : distance of panels of C columns in bytes, for ACC
    o : stream of `vector_layout`
    port, acc_read : SRAM, and accumulators (where `with_acc`)
    """

    def __init__(self, config: ChipConfig, with_acc: bool):
        self._config, self._with_acc = config, with_acc
        self._bits = operand_address_bits(config)
        members = {
            "start": In(1),
            "walk": In(walk_layout(self._bits)),
            "kind": In(Kind),
            "panel": In(self._bits),
            "o": Out(stream.Signature(vector_layout(config.lanes))),
            "port": Out(ReadPort(config)),
        }
        if with_acc:
            members["acc_read"] = Out(AccumulatorPort(config))
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.walker = walker = self._walker()
        m.d.comb += [
            walker.walk.eq(self.walk),
            walker.start.eq(self.start),
            walker.step.eq(self._step(walker.addr)),
        ]
        layout = vector_layout(self._config.lanes)
        m.submodules.vectors = vectors = fifo.SyncFIFO(width=layout.size, depth=_DEPTH)
        m.d.comb += [
            self.o.valid.eq(vectors.r_rdy),
            self.o.payload.eq(vectors.r_data),
            vectors.r_en.eq(self.o.ready),
        ]
        fresh = self._request(m, walker)
        arriving, first, last = Signal(), Signal(), Signal()
        place = Signal(self._bits, reset_less=True)
        m.d.sync += [
            arriving.eq(walker.next),
            first.eq(walker.first),
            last.eq(walker.last),
            place.eq(walker.addr),
        ]
        line = self._line(m, fresh)
        m.d.comb += [
            vectors.w_en.eq(arriving),
            vectors.w_data.eq(Cat(self._vector(m, line, place), first, last)),
        ]
        return m

    def _walker(self) -> Walker:
        """Only the first source is rotated; its rows may be longer than the SRAM, all from one row
        of the accumulators. Rows of the second one are used again."""
        if self._with_acc:
            vectors = VECTOR_BITS - (self._config.lanes - 1).bit_length()
            return Walker(self._bits, vectors, repeats=False)
        return Walker(self._bits, vector_bits(self._config), enters=False)

    def _step(self, addr: Value) -> Value:
        """Distance to the next vector: behind a panel's last columns, to the next panel."""
        config = self._config
        wide = config.f32_vector_bytes
        row_bytes = F32_BYTES * config.cols
        edge = (addr & (row_bytes - wide)) == row_bytes - wide
        panel = Mux(edge, self.panel - (row_bytes - wide), wide)[: self._bits]
        step = Mux(self.kind == Kind.BF16, config.bf16_vector_bytes, wide)
        narrow = Cat(self.kind == kind for kind in BYTE_KINDS).any()
        step = Mux(narrow, config.byte_vector_bytes, step)
        if self._with_acc:
            return Mux(self.kind == Kind.ACC, panel, step)
        return Mux(self.kind == Kind.COL, 0, step)

    def _request(self, m: Module, walker: Walker) -> Signal:
        """Ask for the line of the walker's vector, or pass it where it is the line at hand.

        Returns whether the vector asked for in the cycle before lies in a line that comes now.
        """
        line_shift = (self._config.line_bytes - 1).bit_length()
        line, known = Signal(self._bits, reset_less=True), Signal()
        here, needed, free, accepted = Signal(self._bits), Signal(), Signal(), Signal()
        taken = Signal(range(_DEPTH + 1))  # places promised to vectors that come, or taken
        from_acc = (self.kind == Kind.ACC) if self._with_acc else Const(0)
        m.d.comb += [
            here.eq(walker.addr >> line_shift),
            free.eq(taken != _DEPTH),
            self.port.addr.eq(here),
            self.port.valid.eq(walker.valid & needed & free & ~from_acc),
            accepted.eq(self.port.valid & self.port.ready),
        ]
        if self._with_acc:
            row = walker.addr >> (F32_BYTES * self._config.cols - 1).bit_length()
            m.d.comb += [
                here.eq(Mux(from_acc, row, walker.addr >> line_shift)),
                self.acc_read.addr.eq(row),
                self.acc_read.valid.eq(walker.valid & needed & free & from_acc),
            ]
            m.d.comb += accepted.eq(
                Mux(
                    from_acc,
                    self.acc_read.valid & self.acc_read.ready,
                    self.port.valid & self.port.ready,
                )
            )
        m.d.comb += [
            needed.eq(~known | (line != here)),
            walker.next.eq(accepted | (walker.valid & free & ~needed)),
        ]
        fresh = Signal()
        m.d.sync += [
            fresh.eq(accepted),
            taken.eq(taken + walker.next - (self.o.valid & self.o.ready)),
        ]
        with m.If(self.start):
            m.d.sync += known.eq(0)
        with m.Elif(accepted):
            m.d.sync += [known.eq(1), line.eq(here)]
        return fresh

    def _line(self, m: Module, fresh: Signal) -> Signal:
        """The line that the arriving vector lies in: the port's, or the one kept."""
        arrived = self.port.data
        if self._with_acc:
            arrived = Mux(self.kind == Kind.ACC, self.acc_read.data, self.port.data)
        arrived = Value.cast(arrived)
        line, kept = Signal(len(arrived)), Signal(len(arrived))
        m.d.comb += line.eq(Mux(fresh, arrived, kept))
        with m.If(fresh):
            m.d.sync += kept.eq(arrived)
        return line

    def _vector(self, m: Module, line: Signal, place: Signal) -> Value:
        """The vector at byte address `place` of the line, in the lowest bits."""
        config = self._config
        low = (config.byte_vector_bytes - 1).bit_length()
        line_places = place[low : (config.line_bytes - 1).bit_length()]
        row_places = place[low : (F32_BYTES * config.cols - 1).bit_length()]
        from_acc = (self.kind == Kind.ACC) if self._with_acc else Const(0)
        places = wire(m, Mux(from_acc, row_places, line_places), "places")
        for bit in reversed(range(len(places))):
            moved = line[8 * config.byte_vector_bytes << bit :]
            line = wire(m, Mux(places[bit], moved, line), f"shifted_{bit}")
        vector = line[: 32 * config.lanes]
        if self._with_acc:
            return vector
        first = wire(m, vector[:32], "first_element")
        return Mux(self.kind == Kind.COL, first.replicate(config.lanes), vector)
