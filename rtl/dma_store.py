"""StoreDma: copies rows from the SRAM to HBM."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from rtl.axi import LENGTH_BITS, WriteClient
from rtl.dma import COMMAND, BurstWalk, LineWalk
from rtl.ports import ReadPort
from rtl.reader import LineReader

OUTSTANDING_BITS = 16  # of the count of bursts without a response


class StoreDma(wiring.Component):
    """Reads lines ahead, cuts them into beats and writes them as bursts.

    Latency: the first beat is offered 4 cycles after the command. Throughput: one beat per cycle,
    without a gap between bursts or rows. `done` comes when memory has acknowledged every burst.

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
        for walk in (bursts, addresses):
            m.d.comb += [walk.start.eq(start), walk.command.eq(self.command.payload)]
        ended = self._bursts(m, bursts, reader)
        waiting = Signal(OUTSTANDING_BITS)
        m.d.sync += waiting.eq(waiting + ended - self.memory.response)
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

    def _bursts(self, m, bursts, reader):
        """Offer a burst's address and its beats side by side; returns the pulse of its end."""
        memory = self.memory
        sent, count, ended = Signal(), Signal(LENGTH_BITS), Signal()
        asked, beaten = Signal(), Signal()  # address, beat taken in this cycle
        finished = Signal()  # the last beat was taken before the address
        m.d.comb += [
            memory.request.valid.eq(bursts.o.valid & ~sent),
            memory.request.payload.eq(bursts.o.payload),
            memory.valid.eq(bursts.o.valid & reader.o.valid & ~finished),
            memory.last.eq(count == bursts.o.payload.len),
            memory.strb.eq(~0),
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
        self._cut(m, reader, beaten)
        return ended

    def _cut(self, m, reader, beaten):
        """Present the line's beats, the lowest first."""
        parts = self._config.line_bytes // self._config.axi_bytes
        if parts == 1:
            m.d.comb += [self.memory.data.eq(reader.o.payload.data), reader.o.ready.eq(beaten)]
            return
        part = Signal(range(parts))  # a power of two: wraps
        bits = 8 * self._config.axi_bytes
        m.d.comb += reader.o.ready.eq(beaten & (part == parts - 1))
        m.d.sync += part.eq(part + beaten)
        with m.Switch(part):
            for index in range(parts):
                with m.Case(index):
                    line = reader.o.payload.data
                    m.d.comb += self.memory.data.eq(line[index * bits : (index + 1) * bits])
