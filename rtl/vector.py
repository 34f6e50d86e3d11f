"""VectorUnit: the engine of all vector instructions."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from isa.table import VECTOR
from rtl.accumulator import AccumulatorPort
from rtl.ports import ReadPort, WritePort, command_layout
from rtl.vector_decode import Decoder
from rtl.vector_issue import Issue
from rtl.vector_lanes import Lanes
from rtl.vector_operand import Operand
from rtl.vector_write import WriteBack


class VectorUnit(wiring.Component):
    """Executes vector instructions one after another: read, compute, write back.

    Latency: the last write of n vectors is accepted n + 6 cycles after the command, special
    functions n + 8, reductions n + log2(lanes) + 6, a vrot of whole vectors as many more as vectors
    are turned over; each refused access costs a cycle at most. Throughput one
    vector a cycle. Sizes (rows, cols) are at least 1; vnop never gets here.

    A source may be the destination (same type and stride), except of a vrot with cols > lanes.

    Members
    -------
    command : stream of the instruction, accepted when idle
    done : pulse, the last result is being written: visible to accesses from the next cycle on
    a, b : SRAM reads of the two sources
    acc_read : accumulator reads of the first source
    write : SRAM writes of the result
    vectors : a vector has been issued in this cycle (for the counter)
    waiting_bank : the SRAM refuses an access of the unit's in this cycle
    waiting_operand : otherwise, the accumulators refuse one
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        super().__init__(
            {
                "command": In(stream.Signature(command_layout(VECTOR))),
                "done": Out(1),
                "a": Out(ReadPort(config)),
                "b": Out(ReadPort(config)),
                "acc_read": Out(AccumulatorPort(config)),
                "write": Out(WritePort(config)),
                "vectors": Out(1),
                "waiting_bank": Out(1),
                "waiting_operand": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.operand_a = a = Operand(config, with_acc=True)
        m.submodules.operand_b = b = Operand(config, with_acc=False)
        m.submodules.issue = issue = Issue(config)
        m.submodules.lanes = lanes = Lanes(config.lanes)
        m.submodules.write_back = back = WriteBack(config)
        for source, sink in ((a.o, issue.a), (b.o, issue.b), (issue.o, lanes.i), (lanes.o, back.i)):
            wiring.connect(m, source, sink)
        for port, inner in (
            (self.a, a.port),
            (self.b, b.port),
            (self.acc_read, a.acc_read),
            (self.write, back.port),
        ):
            wiring.connect(m, wiring.flipped(port), inner)
        command, start = self._accept(m)
        decoder = Decoder(m, config, command)
        settings = decoder.settings()
        m.d.comb += [part.settings.eq(settings) for part in (issue, lanes, back)]
        m.d.comb += [
            a.start.eq(start),
            b.start.eq(start & decoder.reads_b()),
            issue.start.eq(start),
            back.start.eq(start),
            a.walk.eq(decoder.walk_a()),
            a.kind.eq(settings.kind_a),
            a.panel.eq(decoder.panel()),
            b.walk.eq(decoder.walk_b()),
            b.kind.eq(settings.kind_b),
            back.walk.eq(decoder.walk_dst()),
            self.done.eq(back.done),
            self.vectors.eq(issue.issued),
            self.waiting_bank.eq(
                Cat(port.valid & ~port.ready for port in (self.a, self.b, self.write)).any()
            ),
            self.waiting_operand.eq(
                self.acc_read.valid & ~self.acc_read.ready & ~self.waiting_bank
            ),
        ]
        return m

    def _accept(self, m: Module) -> tuple[Signal, Signal]:
        """Keep the command while it is executed; returns it and the pulse that starts it."""
        command, start, busy = Signal(command_layout(VECTOR)), Signal(), Signal()
        accepted = self.command.valid & ~busy
        m.d.comb += self.command.ready.eq(~busy)
        m.d.sync += start.eq(accepted)
        with m.If(accepted):
            m.d.sync += [command.eq(self.command.payload), busy.eq(1)]
        with m.Elif(self.done):
            m.d.sync += busy.eq(0)
        return command, start
