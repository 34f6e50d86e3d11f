"""Fetch: reads instructions ahead of the sequencer and keeps those just executed for loops."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.table import INSTRUCTION_BYTES
from rtl.axi import ADDRESS_BITS, ReadClient
from rtl.memory import Sram1R1W
from rtl.timing import FETCH_AHEAD as AHEAD, FETCH_BURST as BURST, FETCH_DEPTH as DEPTH

BURSTS = DEPTH // BURST  # under way at most; a loop of DEPTH - AHEAD instructions is not re-read
_SHIFT = (INSTRUCTION_BYTES - 1).bit_length()
PLACE_BITS = ADDRESS_BITS - _SHIFT  # numbers all instruction-sized places of the memory
_PER_ATOM = (HBM_ATOM_BYTES // INSTRUCTION_BYTES - 1).bit_length()


class Fetch(wiring.Component):
    """A ring buffer over a window of the program, filled by bursts in program order.

    Throughput: one instruction per cycle while the memory's latency is below about ``AHEAD``
    cycles. A branch into the window costs nothing; any other empties it and costs the memory's
    latency. Programs that change their own code are undefined.

    Members
    -------
    start : go to instruction 0 at `code_base` (atoms) and forget what was read
    code_count : instructions that the program has; what is behind them is not read
    enable : 0 stops asking for more
    advance, jump, target : go to the next instruction, or to ``target``; `jump` has priority
    valid, word, pc : the instruction and its index
    memory : the read client
    """

    def __init__(self, config: ChipConfig):
        self._beat_bytes = config.axi_bytes
        super().__init__(
            {
                "start": In(1),
                "code_base": In(32),
                "code_count": In(32),
                "enable": In(1),
                "advance": In(1),
                "jump": In(1),
                "target": In(32),
                "valid": Out(1),
                "word": Out(8 * INSTRUCTION_BYTES),
                "pc": Out(32),
                "memory": Out(ReadClient(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        base, end = Signal(PLACE_BITS), Signal(PLACE_BITS + 1)
        low, head, ahead = Signal(PLACE_BITS), Signal(PLACE_BITS), Signal(PLACE_BITS)
        place, pc, flush = Signal(PLACE_BITS), Signal(32), Signal()  # of the next cycle
        depth = Signal(PLACE_BITS)
        with m.If(self.start):
            m.d.sync += [
                base.eq(self.code_base << _PER_ATOM),
                end.eq((self.code_base << _PER_ATOM) + self.code_count),
            ]
            m.d.comb += place.eq(self.code_base << _PER_ATOM)
        with m.Else():
            m.d.comb += pc.eq(Mux(self.jump, self.target, self.pc + self.advance))
            m.d.comb += place.eq(base + pc)
        m.d.comb += [
            depth.eq(place - low),
            flush.eq(self.start | (self.jump & (depth > (ahead - low)[:PLACE_BITS]))),
        ]
        m.d.sync += [
            self.pc.eq(pc),
            self.valid.eq(~flush & (depth < (head - low)[:PLACE_BITS])),
        ]
        arrived = self._request(m, place, flush, low, ahead, end)
        self._buffer(m, place, flush, head, arrived)
        return m

    def _request(self, m, place, flush, low, ahead, end):
        """Ask for bursts; returns whether a beat belongs to the window, not to one left before."""
        bursts, stale = Signal(range(2 * BURSTS)), Signal(range(2 * BURSTS))
        request, accepted, ended = self.memory.request, Signal(), Signal()
        current, filled, room = Signal(PLACE_BITS), Signal(PLACE_BITS), Signal()
        wanted = Signal()
        left, count = Signal(PLACE_BITS + 1), Signal(range(BURST + 1))  # instructions
        m.d.comb += [
            room.eq(bursts != BURSTS),
            left.eq(end - ahead),
            count.eq(Mux(left < BURST, left, BURST)),
            wanted.eq(((ahead - current)[:PLACE_BITS] <= AHEAD) & (ahead < end)),
            # A request drops the oldest burst, into which a jump may just be going.
            request.valid.eq(self.enable & room & wanted & ~self.jump),
            request.payload.addr.eq(ahead << _SHIFT),
            request.payload.len.eq(_last_beat(count, self._beat_bytes)),
            accepted.eq(request.valid & request.ready),
            ended.eq(self.memory.valid & self.memory.ready & self.memory.last),
            filled.eq(ahead + BURST),
        ]
        aligned = _aligned(place)
        m.d.sync += [current.eq(aligned), bursts.eq(bursts + accepted - ended)]
        with m.If(flush):
            m.d.sync += [low.eq(aligned), ahead.eq(aligned), stale.eq(bursts + accepted - ended)]
        with m.Else():
            m.d.sync += stale.eq(stale - (ended & (stale != 0)))
            with m.If(accepted):
                m.d.sync += ahead.eq(filled)
                with m.If((filled - low)[:PLACE_BITS] > DEPTH):
                    m.d.sync += low.eq(low + BURST)
        return self.memory.valid & (stale == 0) & ~flush

    def _buffer(self, m, place, flush, head, arrived):
        """Store arriving beats as rows of at least one instruction; read the one at ``place``."""
        row_bytes = max(INSTRUCTION_BYTES, self._beat_bytes)
        parts, words = row_bytes // self._beat_bytes, row_bytes // INSTRUCTION_BYTES
        m.submodules.rows = rows = Sram1R1W(8 * row_bytes, DEPTH // words)
        complete, word = Signal(), Signal(range(words))
        m.d.comb += [
            self.memory.ready.eq(1),  # there is room for all that was asked for
            rows.ren.eq(1),
            rows.raddr.eq(place >> _log2(words)),
            rows.waddr.eq(head >> _log2(words)),
            rows.wen.eq(complete),
        ]
        m.d.sync += word.eq(place)
        with m.If(flush):
            m.d.sync += head.eq(_aligned(place))
        with m.Elif(complete):
            m.d.sync += head.eq(head + words)
        with m.Switch(word):
            for index in range(words):
                bits = 8 * INSTRUCTION_BYTES
                with m.Case(index):
                    m.d.comb += self.word.eq(rows.rdata[index * bits : (index + 1) * bits])
        if parts == 1:
            m.d.comb += [complete.eq(arrived), rows.wdata.eq(self.memory.data)]
            return
        self._gather(m, rows, flush, arrived, complete, parts)

    def _gather(self, m, rows, flush, arrived, complete, parts):
        """Collect the beats of one instruction; the first one is its lowest part."""
        count, earlier = Signal(range(parts)), Signal(8 * self._beat_bytes * (parts - 1))
        gathered = Cat(earlier, self.memory.data)
        m.d.comb += [complete.eq(arrived & (count == parts - 1)), rows.wdata.eq(gathered)]
        with m.If(flush):
            m.d.sync += count.eq(0)
        with m.Elif(arrived):
            m.d.sync += [count.eq(count + 1), earlier.eq(gathered[8 * self._beat_bytes :])]


def _aligned(place):
    """The first place of the burst that holds ``place``."""
    return Cat(Const(0, _log2(BURST)), place[_log2(BURST) :])


def _last_beat(count, beat_bytes: int):
    """Beats of ``count`` instructions, at least one of them, less one."""
    if beat_bytes >= INSTRUCTION_BYTES:
        return (count - 1) >> _log2(beat_bytes // INSTRUCTION_BYTES)
    return (count << _log2(INSTRUCTION_BYTES // beat_bytes)) - 1


def _log2(value: int) -> int:
    return (value - 1).bit_length()
