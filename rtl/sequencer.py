"""Sequencer: fetches, executes scalar instructions, hands the others to the engines' queues."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.table import Engine
from rtl.axi import ReadClient, WriteClient
from rtl.decode import FORMATS, PORTS, VALUE_BITS, Decoder, opcode_of
from rtl.dispatch import item_layout
from rtl.fetch import Fetch
from rtl.scalar import ARITHMETIC, Registers, ScalarMemory, alu
from rtl.semaphore import Guard, SemaphorePort

ENGINES = {engine: engine.name.lower() for engine in FORMATS if engine != Engine.SEQUENCER}
_ATOM_SHIFT = (HBM_ATOM_BYTES - 1).bit_length()


class Sequencer(wiring.Component):
    """One instruction per cycle, in order, while the fetch keeps up and the queue has room.

    A scalar instruction's waits and signals take a cycle each; `ld` and `st` stop the sequencer
    until memory has answered; `sync` and `halt` until `engines_idle`. Instructions for engines
    are handed over with their operands resolved, whatever they wait for.

    Members
    -------
    start, code_base : run from instruction 0 at that atom, all registers 0; only while not running
    running, halted, trap, trap_pc : an illegal opcode sets `trap` and stops; only a reset revives
    fetch, read, write : the memory's clients
    load, store, matrix, vector : streams of queue items
    semaphores : the semaphore file; engines_idle : all queues empty, all engines idle
    retired : pulse for each scalar instruction completed
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        queues = {
            name: Out(stream.Signature(item_layout(FORMATS[engine])))
            for engine, name in ENGINES.items()
        }
        super().__init__(
            {
                "start": In(1),
                "code_base": In(32),
                "running": Out(1),
                "halted": Out(1),
                "trap": Out(1),
                "trap_pc": Out(32),
                "fetch": Out(ReadClient(config)),
                "read": Out(ReadClient(config)),
                "write": Out(WriteClient(config)),
                "semaphores": Out(SemaphorePort()),
                "engines_idle": In(1),
                "retired": Out(1),
                **queues,
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetcher = fetcher = Fetch(self._config)
        m.submodules.decoder = decoder = Decoder()
        m.submodules.registers = registers = Registers()
        m.submodules.guard = guard = Guard()
        wiring.connect(m, wiring.flipped(self.fetch), fetcher.memory)
        wiring.connect(m, wiring.flipped(self.semaphores), guard.port)
        legal, handed, source = Signal(), Signal(), Signal(VALUE_BITS)
        m.d.comb += [
            fetcher.start.eq(self.start),
            fetcher.code_base.eq(self.code_base),
            fetcher.enable.eq(self.running),
            fetcher.advance.eq(handed | guard.retire),
            fetcher.target.eq(decoder.y),
            decoder.word.eq(fetcher.word),
            legal.eq(fetcher.valid & self.running & decoder.legal),
            registers.clear.eq(self.start),
            registers.register[PORTS].eq(decoder.rs),
            source.eq(registers.value[PORTS]),
            guard.valid.eq(legal & (decoder.engine == Engine.SEQUENCER)),
            guard.fields.eq(decoder.guards),
            self.retired.eq(guard.retire),
        ]
        for port in range(PORTS):
            m.d.comb += registers.register[port].eq(decoder.register[port])
            m.d.comb += decoder.value[port].eq(registers.value[port])
        self._hand_over(m, decoder, legal, handed)
        self._execute(m, decoder, guard, registers, source, fetcher)
        self._control(m, fetcher, decoder, guard)
        return m

    def _hand_over(self, m, decoder, legal, handed):
        """Offer an engine's instruction to its queue."""
        for engine, name in ENGINES.items():
            queue = getattr(self, name)
            m.d.comb += [
                queue.payload.eq(getattr(decoder, name)),
                queue.valid.eq(legal & (decoder.engine == engine)),
            ]
            with m.If(queue.valid & queue.ready):
                m.d.comb += handed.eq(1)

    def _execute(self, m, decoder, guard, registers, source, fetcher):
        """Work of the scalar instructions; results are written in the last cycle."""
        m.submodules.scalar_memory = access = ScalarMemory(self._config)
        wiring.connect(m, wiring.flipped(self.read), access.read)
        wiring.connect(m, wiring.flipped(self.write), access.write)
        result = alu(m, decoder.opcode, source, decoder.x)
        loading, storing = Signal(), Signal()
        m.d.comb += [
            loading.eq(guard.acquired & (decoder.opcode == opcode_of("ld"))),
            storing.eq(guard.acquired & (decoder.opcode == opcode_of("st"))),
            access.load.eq(loading),
            access.store.eq(storing),
            access.address.eq((decoder.x << _ATOM_SHIFT) + decoder.y),
            access.data.eq(source),
            access.clear.eq(guard.retire),
            registers.index.eq(decoder.rd),
            registers.data.eq(Mux(loading, access.value, result)),
        ]
        with m.Switch(decoder.opcode):
            with m.Case(opcode_of("halt"), opcode_of("sync")):
                m.d.comb += guard.executed.eq(self.engines_idle)
            with m.Case(opcode_of("ld"), opcode_of("st")):
                m.d.comb += guard.executed.eq(access.finished)
            with m.Default():
                m.d.comb += guard.executed.eq(1)
        with m.Switch(decoder.opcode):
            with m.Case(opcode_of("ld"), *map(opcode_of, ARITHMETIC)):
                m.d.comb += registers.write.eq(guard.retire)
            with m.Case(opcode_of("beq")):
                m.d.comb += fetcher.jump.eq(guard.retire & (source == decoder.x))
            with m.Case(opcode_of("blt")):
                m.d.comb += fetcher.jump.eq(guard.retire & (source < decoder.x))

    def _control(self, m, fetcher, decoder, guard):
        """Start, halt and trap."""
        with m.If(self.running & fetcher.valid & ~decoder.legal):
            m.d.sync += [self.running.eq(0), self.trap.eq(1), self.trap_pc.eq(fetcher.pc)]
        with m.If(guard.retire & (decoder.opcode == opcode_of("halt"))):
            m.d.sync += [self.running.eq(0), self.halted.eq(1)]
        with m.If(self.start):
            m.d.sync += [self.running.eq(1), self.halted.eq(0)]
