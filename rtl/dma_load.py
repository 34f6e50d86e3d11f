"""LoadDma: copies rows from HBM to the SRAM."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from rtl.axi import ReadClient
from rtl.dma import COMMAND, GATHER, BurstWalk, LineWalk
from rtl.dma_align import LineFiller
from rtl.dma_gather import RowNumbers
from rtl.ports import ReadPort, WritePort


class LoadDma(wiring.Component):
    """Requests bursts ahead of the data, makes lines of their beats and writes them.

    Latency: the first burst is requested 1 cycle after the command, of a gather 8; a line is
    written 2 cycles after its last beat. `done` comes 1 cycle after the last write. Throughput: one
    beat per cycle while ``config.load_bursts`` bursts cover the memory's latency, also from row to
    row, but for what `LineFiller` takes. A refused write stops the beats when the next line is
    whole. The next command, unless it is a gather, is taken when all bursts have been requested: it
    asks for its own at once, and its first beat is taken at most 5 cycles behind the last one.

    Members
    -------
    command, done : the dispatcher
    memory, port, list : read client; the SRAM, where rows are written, and a gather's list is read
    lines : pulse for each line written
    waiting_bank, waiting_memory : a write is refused, or the list, for want of which nothing is
        requested; no beat has come. Never both; neither while lines or beats move, or when no
        command is at work
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        super().__init__(
            {
                "command": In(stream.Signature(COMMAND)),
                "done": Out(1),
                "memory": Out(ReadClient(config)),
                "port": Out(WritePort(config)),
                "list": Out(ReadPort(config)),
                "lines": Out(1),
                "waiting_bank": Out(1),
                "waiting_memory": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.bursts = bursts = BurstWalk(self._config, gathers=True)
        m.submodules.addresses = addresses = LineWalk(self._config)
        m.submodules.numbers = numbers = RowNumbers(self._config)
        m.submodules.filler = filler = LineFiller(self._config)
        wiring.connect(m, wiring.flipped(self.list), numbers.port)
        wiring.connect(m, numbers.o, bursts.row)
        busy, follows = Signal(), Signal()  # lines are to be written; and another command's
        start, command = Signal(), self.command.payload
        gather = command.opcode == GATHER
        m.d.comb += [
            self.command.ready.eq(~busy | ~(follows | bursts.active | gather)),
            start.eq(self.command.valid & self.command.ready),
            bursts.start.eq(start),
            numbers.start.eq(start & gather),
        ]
        for unit in (bursts, numbers):
            m.d.comb += unit.command.eq(command)
        begins, written = self._follow(m, start, busy, follows)
        for unit in (addresses, filler):
            m.d.comb += [unit.start.eq(begins), unit.command.eq(written)]
        leads = self._leads(m, begins, written, bursts, filler)
        flying, ended = self._request(m, bursts, leads)
        self._write(m, addresses, filler, follows & self._all_came(m, start, flying, ended))
        starved = Signal()
        m.d.comb += [
            self.done.eq(busy & ~addresses.active),
            starved.eq(self.list.valid & ~self.list.ready & (flying == 0)),
            self.waiting_bank.eq(~filler.moves & ((self.port.valid & ~self.port.ready) | starved)),
            self.waiting_memory.eq(addresses.active & ~filler.moves & ~self.port.valid & ~starved),
        ]
        return m

    def _follow(self, m, start, busy, follows):
        """Keep the command whose bursts are requested until the one before is written; returns the
        pulse with which lines of the next one begin, and that one."""
        begins, held = Signal(), Signal(COMMAND)
        free = ~busy | self.done
        m.d.comb += begins.eq(free & (start | follows))
        with m.If(start):
            m.d.sync += held.eq(self.command.payload)
        m.d.sync += [follows.eq(~free & (start | follows)), busy.eq(begins | ~free)]
        return begins, data.View(COMMAND, Mux(follows, held, self.command.payload))

    def _all_came(self, m, start, flying, ended):
        """Whether all beats that were asked for before the last `start` have come."""
        older = Signal(flying.shape())
        with m.If(start):
            m.d.sync += older.eq(flying - ended)
        with m.Elif(ended & (older != 0)):
            m.d.sync += older.eq(older - 1)
        return older == 0

    def _leads(self, m, begins, command, bursts, filler):
        """Tell `filler` where in its first beat each row begins; returns whether there is room for
        another row. Where beats are atoms or less, rows begin all alike."""
        parity = len(filler.lead) - len(filler.command.offset)
        held = Signal(len(filler.command.offset))
        with m.If(begins):
            m.d.sync += held.eq(command.offset)
        if parity <= 0:
            m.d.comb += filler.lead.eq(held)
            return 1
        m.submodules.leads = leads = fifo.SyncFIFO(width=parity, depth=self._config.load_bursts + 1)
        m.d.comb += [
            leads.w_en.eq(bursts.o.valid & bursts.o.ready & bursts.o.payload.first),
            leads.w_data.eq(bursts.o.payload.lead >> len(held)),
            leads.r_en.eq(filler.row_over),
            filler.lead.eq(Cat(held, leads.r_data)),
        ]
        return leads.w_rdy

    def _request(self, m, bursts, ready):
        """Hand bursts to the memory, at most `load_bursts` unanswered; returns their number, and
        whether the last beat of one is taken."""
        flying, room = Signal(range(self._config.load_bursts + 1)), Signal()
        asked, ended, memory = Signal(), Signal(), self.memory
        m.d.comb += [
            room.eq((flying != self._config.load_bursts) & ready),
            memory.request.valid.eq(bursts.o.valid & room),
            memory.request.payload.addr.eq(bursts.o.payload.addr),
            memory.request.payload.len.eq(bursts.o.payload.len),
            bursts.o.ready.eq(memory.request.ready & room),
            asked.eq(memory.request.valid & memory.request.ready),
            ended.eq(memory.valid & memory.ready & memory.last),
        ]
        m.d.sync += flying.eq(flying + asked - ended)
        return flying, ended

    def _write(self, m, addresses, filler, early):
        """Offer lines to the SRAM. ``early``: the beats that come now are the next command's."""
        held, line = Signal(), Signal(filler.o.payload.shape())
        taken = held & self.port.ready
        with m.If(filler.o.valid & filler.o.ready):
            m.d.sync += [held.eq(1), line.eq(filler.o.payload)]
        with m.Elif(taken):
            m.d.sync += held.eq(0)
        m.d.comb += [
            filler.i.valid.eq(self.memory.valid & ~early),
            filler.i.payload.eq(self.memory.data),
            self.memory.ready.eq(filler.i.ready & ~early),
            self.port.valid.eq(held),
            self.port.addr.eq(addresses.o.payload),
            self.port.data.eq(line.data),
            self.port.mask.eq(line.mask),
            filler.o.ready.eq(~held | self.port.ready),
            addresses.o.ready.eq(taken),
            self.lines.eq(taken),
        ]
