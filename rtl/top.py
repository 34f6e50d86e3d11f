"""Core: the whole chip behind its memory port."""

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from isa.counters import COUNTER_BITS, COUNTERS
from isa.table import Engine
from rtl.axi import AxiPort
from rtl.axi_mux import ReadMux, WriteMux
from rtl.decode import FORMATS
from rtl.dispatch import Dispatcher
from rtl.dma_load import LoadDma
from rtl.dma_store import StoreDma
from rtl.matrix import MatrixUnit
from rtl.semaphore import SemaphoreFile
from rtl.sequencer import ENGINES, Sequencer
from rtl.sram import BankedSram
from rtl.vector import VectorUnit

COUNTERS_LAYOUT = data.StructLayout({name: unsigned(COUNTER_BITS) for name in COUNTERS})


class Core(wiring.Component):
    """Sequencer, semaphores, four engines with their queues, banked SRAM, one AXI4 master.

    `start` runs the program at `code_base` from its first instruction, with scalar registers,
    semaphores and counters at 0; SRAM and accumulators keep their contents. It is ignored while a
    program runs. After a trap nothing more is started until a reset.

    Members
    -------
    axi : the memory
    start, code_base : pulse; HBM atom of instruction 0
    halted, trap, trap_pc : the program ended; an illegal opcode stopped it, at this index
    counters : `isa.counters.COUNTERS`
    cycles, conflicts : cycles that the program ran; those in which the SRAM refused a client
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        super().__init__(
            {
                "axi": Out(AxiPort(config)),
                "start": In(1),
                "code_base": In(32),
                "halted": Out(1),
                "trap": Out(1),
                "trap_pc": Out(32),
                "counters": Out(COUNTERS_LAYOUT),
                "cycles": Out(COUNTER_BITS),
                "conflicts": Out(COUNTER_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.sequencer = sequencer = Sequencer(self._config)
        m.submodules.semaphores = semaphores = SemaphoreFile()
        m.submodules.sram = sram = BankedSram(self._config)
        engines = self._engines(m, sequencer, semaphores)
        begin = Signal()
        m.d.comb += [
            begin.eq(self.start & ~sequencer.running & ~sequencer.trap),
            sequencer.start.eq(begin),
            sequencer.code_base.eq(self.code_base),
            semaphores.clear.eq(begin),
            self.halted.eq(sequencer.halted),
            self.trap.eq(sequencer.trap),
            self.trap_pc.eq(sequencer.trap_pc),
        ]
        wiring.connect(m, sequencer.semaphores, semaphores.ports[Engine.SEQUENCER])
        self._connect_memory(m, sequencer, engines)
        self._connect_sram(m, sram, engines)
        self._count(m, begin, sequencer, sram, engines)
        return m

    def _engines(self, m, sequencer, semaphores):
        """Engines by name, each behind its dispatcher; returns name → (engine, dispatcher)."""
        kinds = {"load": LoadDma, "store": StoreDma, "matrix": MatrixUnit, "vector": VectorUnit}
        engines = {}
        for engine, name in ENGINES.items():
            m.submodules[name] = unit = kinds[name](self._config)
            m.submodules[f"{name}_queue"] = queue = Dispatcher(self._config, FORMATS[engine])
            wiring.connect(m, getattr(sequencer, name), queue.i)
            wiring.connect(m, queue.command, unit.command)
            wiring.connect(m, queue.semaphores, semaphores.ports[engine])
            m.d.comb += [queue.done.eq(unit.done), queue.enable.eq(~sequencer.trap)]
            engines[name] = unit, queue
        idle = Cat(queue.idle for _, queue in engines.values())
        m.d.comb += sequencer.engines_idle.eq(idle.all())
        return engines

    def _connect_memory(self, m, sequencer, engines):
        m.submodules.reads = reads = ReadMux(self._config)
        m.submodules.writes = writes = WriteMux(self._config)
        wiring.connect(m, sequencer.fetch, reads.fetch)
        wiring.connect(m, sequencer.read, reads.scalar)
        wiring.connect(m, engines["load"][0].memory, reads.load)
        wiring.connect(m, sequencer.write, writes.scalar)
        wiring.connect(m, engines["store"][0].memory, writes.store)
        for name, member in self.axi.signature.members.items():
            half = reads if name.startswith(("ar", "r")) else writes
            inner, outer = getattr(half.axi, name), getattr(self.axi, name)
            m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)

    def _connect_sram(self, m, sram, engines):
        units = {name: unit for name, (unit, _) in engines.items()}
        wiring.connect(m, units["load"].port, sram.load_write)
        wiring.connect(m, units["store"].port, sram.store_read)
        wiring.connect(m, units["matrix"].weights, sram.matrix_weights)
        wiring.connect(m, units["matrix"].activations, sram.matrix_activations)
        wiring.connect(m, units["vector"].a, sram.vector_a)
        wiring.connect(m, units["vector"].b, sram.vector_b)
        wiring.connect(m, units["vector"].write, sram.vector_write)
        wiring.connect(m, units["vector"].acc_read, units["matrix"].acc_read)

    def _count(self, m, begin, sequencer, sram, engines):
        units = {name: unit for name, (unit, _) in engines.items()}
        events = {f"{name}_instructions": queue.retired for name, (_, queue) in engines.items()}
        events |= {
            "sequencer_instructions": sequencer.retired,
            "load_lines": units["load"].lines,
            "store_lines": units["store"].lines,
            "matrix_rows": units["matrix"].rows,
            "vector_vectors": units["vector"].vectors,
        }
        counts = [(self.cycles, sequencer.running), (self.conflicts, sram.refused)]
        for name in COUNTERS:
            # One register each: partial assignments to the packed structure simulate slowly.
            counts.append((Signal(COUNTER_BITS, name=name), events[name]))
            m.d.comb += getattr(self.counters, name).eq(counts[-1][0])
        for counter, event in counts:
            with m.If(begin):
                m.d.sync += counter.eq(0)
            with m.Elif(event):
                m.d.sync += counter.eq(counter + 1)
