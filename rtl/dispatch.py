"""Dispatcher: an engine's command queue and the semaphores around each command."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from isa.table import INSTRUCTIONS, Engine, Format
from rtl.ports import command_layout
from rtl.semaphore import GUARDS, Guard, SemaphorePort
from rtl.timing import COMMANDS_AT_WORK

NOPS = tuple(i.opcode for i in INSTRUCTIONS if i.engine != Engine.SEQUENCER and not i.uses)
_BEGUN = data.StructLayout({"signals": GUARDS["signals"].shape, "nop": 1})


def item_layout(fields: Format) -> data.StructLayout:
    """What waits in a queue: the semaphore fields and the command for the engine."""
    return data.StructLayout({"guards": GUARDS, "command": command_layout(fields)})


class Dispatcher(wiring.Component):
    """Feeds one engine: for each command waits, starts it; when it is done, signals.

    An engine may take a command while the one before is at work; it is done with them in order.
    `COMMANDS_AT_WORK` is how many have begun and not yet retired: the next one's waits are taken
    while there are fewer.

    Latency: a command without waits reaches the engine the cycle after it was queued; it retires
    with `done` or with its last signal, a nop a cycle after its last wait. Back-pressure: `i` is
    refused while ``config.queue_depth`` commands have not retired.

    Members
    -------
    i : stream of `item_layout(fields)`
    command : stream to the engine, stable until taken
    done : the engine's pulse, once for each command, in order
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
        begun = fifo.SyncFIFO(width=_BEGUN.size, depth=COMMANDS_AT_WORK)
        m.submodules.begun, m.submodules.before, m.submodules.after = begun, Guard(), Guard()
        before, after = m.submodules.before, m.submodules.after
        head, oldest = data.View(self._item, queue.r_data), data.View(_BEGUN, begun.r_data)
        held, nop, begins = Signal(range(self._depth + 1)), Signal(), Signal()
        m.d.comb += [
            queue.w_en.eq(self.i.valid & self.i.ready),
            queue.w_data.eq(self.i.payload),
            self.i.ready.eq(held != self._depth),
            nop.eq(Cat(head.command.opcode == opcode for opcode in NOPS).any()),
            before.valid.eq(queue.r_rdy & begun.w_rdy & self.enable),
            before.fields.waits.eq(head.guards.waits),
            before.executed.eq(nop | self.command.ready),
            self.command.valid.eq(before.acquired & ~nop),
            self.command.payload.eq(head.command),
            begins.eq(before.retire),
            queue.r_en.eq(begins),
            begun.w_en.eq(begins),
            begun.w_data.eq(Cat(head.guards.signals, nop)),
            after.valid.eq(begun.r_rdy & self.enable),
            after.fields.signals.eq(oldest.signals),
            after.executed.eq(oldest.nop | self._ended(m, after.retire & ~oldest.nop)),
            begun.r_en.eq(after.retire),
            self.idle.eq(held == 0),
            self.waiting.eq(~begun.r_rdy & before.valid & ~before.acquired),
            self.retired.eq(after.retire),
        ]
        m.d.sync += held.eq(held + (self.i.valid & self.i.ready) - after.retire)
        self._share(m, before.port, after.port)
        running = Signal(range(COMMANDS_AT_WORK + 1))
        m.d.comb += self.working.eq(running != 0)
        m.d.sync += running.eq(running + (begins & ~nop) - self.done)
        return m

    def _ended(self, m: Module, retires) -> Value:
        """Whether the oldest command has been executed; ``retires``: it is in this cycle's."""
        ended = Signal(range(COMMANDS_AT_WORK + 1))  # that have not retired
        m.d.sync += ended.eq(ended + self.done - retires)
        return self.done | (ended != 0)

    def _share(self, m: Module, before, after) -> None:
        """The one port to the semaphores: signals go first."""
        port = self.semaphores
        m.d.comb += [
            port.valid.eq(before.valid | after.valid),
            port.raises.eq(after.valid),
            port.semaphore.eq(Mux(after.valid, after.semaphore, before.semaphore)),
            port.count.eq(before.count),
            after.ready.eq(port.ready),
            before.ready.eq(port.ready & ~after.valid),
        ]
