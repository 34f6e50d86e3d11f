"""StoreDma: copies rows from the SRAM to HBM."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from rtl.axi import LENGTH_BITS, WriteClient
from rtl.dma import COMMAND, BurstWalk, LineWalk
from rtl.dma_align import LineCutter
from rtl.ports import ReadPort
from rtl.reader import LineReader


class StoreDma(wiring.Component):
    """Reads lines ahead, cuts them into beats and writes them as bursts.

    Latency: the first beat is offered 4 cycles after the command. Throughput: one beat per cycle,
    without a gap between bursts or rows, while no more than ``config.store_bursts`` bursts are
    without a response. `done` comes when memory has acknowledged every burst.

    Members
    -------
    command, done : the dispatcher
    memory, port : write client, SRAM
    lines : pulse for each line read
    waiting_bank, waiting_memory : no beat moves, because a read is refused, or for another reason.
        Never both; neither when no command is at work
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        super().__init__(
            {
                "command": In(stream.Signature(COMMAND)),
                "done": Out(1),
                "memory": Out(WriteClient(config)),
                "port": Out(ReadPort(config)),
                "lines": Out(1),
                "waiting_bank": Out(1),
                "waiting_memory": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.bursts = bursts = BurstWalk(self._config)
        m.submodules.addresses = addresses = LineWalk(self._config)
        m.submodules.reader = reader = LineReader(self._config, tag_bits=1)
        m.submodules.cutter = cutter = LineCutter(self._config)
        wiring.connect(m, wiring.flipped(self.port), reader.port)
        busy, start = Signal(), Signal()
        m.d.comb += [
            self.command.ready.eq(~busy),
            start.eq(self.command.valid & ~busy),
            reader.i.valid.eq(addresses.o.valid),
            reader.i.payload.addr.eq(addresses.o.payload),
            addresses.o.ready.eq(reader.i.ready),
            self.lines.eq(addresses.o.valid & addresses.o.ready),
        ]
        for unit in (bursts, addresses, cutter):
            m.d.comb += [unit.start.eq(start), unit.command.eq(self.command.payload)]
        m.d.comb += [
            cutter.i.valid.eq(reader.o.valid),
            cutter.i.payload.eq(reader.o.payload.data),
            reader.o.ready.eq(cutter.i.ready),
        ]
        waiting = self._bursts(m, bursts, cutter)
        stuck, refused = Signal(), Signal()
        m.d.comb += [
            self.done.eq(busy & ~bursts.active & (waiting == 0)),
            stuck.eq(busy & ~self.done & ~(self.memory.valid & self.memory.ready)),
            refused.eq(self.port.valid & ~self.port.ready),
            self.waiting_bank.eq(stuck & refused),
            self.waiting_memory.eq(stuck & ~refused),
        ]
        with m.If(start):
            m.d.sync += busy.eq(1)
        with m.Elif(self.done):
            m.d.sync += busy.eq(0)
        return m

    def _bursts(self, m, bursts, cutter):
        """Offer a burst's address and its beats side by side, both only while less than
        `store_bursts` whole ones are without a response, whose number is returned."""
        memory, burst, most = self.memory, bursts.o.payload, self._config.store_bursts
        waiting, room = Signal(range(most + 1)), Signal()
        sent, count, ended = Signal(), Signal(LENGTH_BITS), Signal()
        asked, beaten = Signal(), Signal()  # address, beat taken in this cycle
        finished = Signal()  # the last beat was taken before the address
        m.d.comb += [
            room.eq(bursts.o.valid & (waiting != most)),
            memory.request.valid.eq(room & ~sent),
            memory.request.payload.addr.eq(burst.addr),
            memory.request.payload.len.eq(burst.len),
            memory.valid.eq(room & cutter.o.valid & ~finished),
            memory.last.eq(count == burst.len),
            memory.data.eq(cutter.o.payload.data),
            memory.strb.eq(cutter.o.payload.strb),
            cutter.lead.eq(burst.lead),
            cutter.first.eq(burst.first & (count == 0)),
            cutter.last.eq(burst.last & memory.last),
            cutter.o.ready.eq(room & memory.ready & ~finished),
            asked.eq(memory.request.valid & memory.request.ready),
            beaten.eq(memory.valid & memory.ready),
            ended.eq((sent | asked) & (finished | (beaten & memory.last))),
            bursts.o.ready.eq(ended),
        ]
        with m.If(ended):
            m.d.sync += [sent.eq(0), finished.eq(0), count.eq(0)]
        with m.Else():
            m.d.sync += [
                sent.eq(sent | asked),
                finished.eq(finished | (beaten & memory.last)),
                count.eq(count + beaten),
            ]
        m.d.sync += waiting.eq(waiting + ended - memory.response)
        return waiting
