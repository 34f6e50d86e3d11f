"""Dispatcher: an engine's command queue and the semaphores around each command."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from isa.table import INSTRUCTIONS, Engine, Format
from rtl.ports import command_layout
from rtl.semaphore import GUARDS, Guard, SemaphorePort

NOPS = tuple(i.opcode for i in INSTRUCTIONS if i.engine != Engine.SEQUENCER and not i.uses)


def item_layout(fields: Format) -> data.StructLayout:
    """What waits in a queue: the semaphore fields and the command for the engine."""
    return data.StructLayout({"guards": GUARDS, "command": command_layout(fields)})


class Dispatcher(wiring.Component):
    """Feeds one engine: for each command waits, starts it, waits for `done`, signals.

    Latency: a command without waits reaches the engine the cycle after it was queued; the next
    one follows the cycle after `done` (or after the last signal). Back-pressure: `i` is refused
    while ``config.queue_depth`` commands wait, the one at work included.

    Members
    -------
    i : stream of `item_layout(fields)`
    command : stream to the engine, which is ready when it is idle
    done : the engine's pulse
    semaphores : the semaphore file
    enable : 0 stops starting commands and semaphore operations, for good
    idle : nothing queued, nothing running
    waiting : the first command waits for a semaphore
    working : the engine executes
    retired : pulse, a command has been completed
    """

    def __init__(self, config: ChipConfig, fields: Format):
        self._depth = config.queue_depth
        self._item = item_layout(fields)
        super().__init__(
            {
                "i": In(stream.Signature(self._item)),
                "command": Out(stream.Signature(command_layout(fields))),
                "done": In(1),
                "semaphores": Out(SemaphorePort()),
                "enable": In(1),
                "idle": Out(1),
                "waiting": Out(1),
                "working": Out(1),
                "retired": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = fifo.SyncFIFO(width=self._item.size, depth=self._depth)
        m.submodules.guard = guard = Guard()
        head = data.View(self._item, queue.r_data)
        started, finished, nop = Signal(), Signal(), Signal()
        m.d.comb += [
            queue.w_en.eq(self.i.valid),
            queue.w_data.eq(self.i.payload),
            self.i.ready.eq(queue.w_rdy),
            nop.eq(Cat(head.command.opcode == opcode for opcode in NOPS).any()),
            guard.valid.eq(queue.r_rdy & self.enable),
            guard.fields.eq(head.guards),
            guard.executed.eq(nop | finished | (started & self.done)),
            self.command.valid.eq(guard.acquired & ~nop & ~started),
            self.command.payload.eq(head.command),
            queue.r_en.eq(guard.retire),
            self.idle.eq(~queue.r_rdy),
            self.waiting.eq(guard.valid & ~guard.acquired),
            self.working.eq(started & ~finished),
            self.retired.eq(guard.retire),
        ]
        wiring.connect(m, wiring.flipped(self.semaphores), guard.port)
        with m.If(guard.retire):
            m.d.sync += [started.eq(0), finished.eq(0)]
        with m.Else():
            with m.If(self.command.valid & self.command.ready):
                m.d.sync += started.eq(1)
            with m.If(started & self.done):
                m.d.sync += finished.eq(1)
        return m
