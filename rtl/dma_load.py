"""LoadDma: copies rows from HBM to the SRAM."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from rtl.axi import ReadClient
from rtl.dma import COMMAND, BurstWalk, LineWalk
from rtl.ports import WritePort


class LoadDma(wiring.Component):
    """Requests bursts ahead of the data, gathers their beats into lines, writes whole lines.

    Latency: the first burst is requested 1 cycle after the command; a line is written 1 cycle after
    its last beat; `done` comes 1 cycle after the last write. Throughput: one beat per cycle while
    ``config.load_bursts`` bursts cover the memory's latency, also from row to row. Refused writes
    stop the beats.

    Members
    -------
    command, done : the dispatcher
    memory, port : read client, SRAM
    lines : pulse for each line written
    waiting_bank, waiting_memory : a write is refused; no beat has come. Never both; neither while
        lines or beats move, or when no command is at work
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        super().__init__(
            {
                "command": In(stream.Signature(COMMAND)),
                "done": Out(1),
                "memory": Out(ReadClient(config)),
                "port": Out(WritePort(config)),
                "lines": Out(1),
                "waiting_bank": Out(1),
                "waiting_memory": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.bursts = bursts = BurstWalk(self._config)
        m.submodules.addresses = addresses = LineWalk(self._config)
        busy, start = Signal(), Signal()
        m.d.comb += [self.command.ready.eq(~busy), start.eq(self.command.valid & ~busy)]
        for walk in (bursts, addresses):
            m.d.comb += [walk.start.eq(start), walk.command.eq(self.command.payload)]
        self._request(m, bursts)
        self._write(m, addresses)
        with m.If(start):
            m.d.sync += busy.eq(1)
        with m.Elif(self.done):
            m.d.sync += busy.eq(0)
        refused = self.port.valid & ~self.port.ready
        m.d.comb += [
            self.done.eq(busy & ~addresses.active),
            self.waiting_bank.eq(refused),
            self.waiting_memory.eq(
                addresses.active & ~self.port.valid & ~(self.memory.valid & self.memory.ready)
            ),
        ]
        return m

    def _request(self, m, bursts):
        """Hand bursts to the memory, at most `load_bursts` unanswered."""
        flying, room = Signal(range(self._config.load_bursts + 1)), Signal()
        asked, ended, memory = Signal(), Signal(), self.memory
        m.d.comb += [
            room.eq(flying != self._config.load_bursts),
            memory.request.valid.eq(bursts.o.valid & room),
            memory.request.payload.eq(bursts.o.payload),
            bursts.o.ready.eq(memory.request.ready & room),
            asked.eq(memory.request.valid & memory.request.ready),
            ended.eq(memory.valid & memory.ready & memory.last),
        ]
        m.d.sync += flying.eq(flying + asked - ended)

    def _write(self, m, addresses):
        """Collect a line, the first beat lowest, and offer it to the SRAM."""
        beat_bits = 8 * self._config.axi_bytes
        parts = self._config.line_bytes // self._config.axi_bytes
        line, full = Signal(beat_bits * parts), Signal()
        count, last, taken = Signal(range(max(parts, 2))), Signal(), Signal()
        m.d.comb += [
            self.memory.ready.eq(~full | self.port.ready),
            taken.eq(self.memory.valid & self.memory.ready),
            last.eq(count == parts - 1),
            self.port.valid.eq(full),
            self.port.addr.eq(addresses.o.payload),
            self.port.data.eq(line),
            self.port.mask.eq(~0),
            addresses.o.ready.eq(full & self.port.ready),
            self.lines.eq(full & self.port.ready),
        ]
        with m.If(self.lines):
            m.d.sync += full.eq(0)
        with m.If(taken):
            m.d.sync += [
                line.eq(Cat(line, self.memory.data)[beat_bits:]),
                count.eq(count + 1),
                full.eq(last),
            ]
            with m.If(last):
                m.d.sync += count.eq(0)
