"""Core: the whole chip behind its memory port."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.counters import COUNTER_BITS, COUNTERS
from isa.table import Engine
from isa.traps import CAUSE_BITS, WHERE_BITS
from rtl.axi import AxiPort
from rtl.axi_answers import Answers, read_depths, write_depths
from rtl.axi_mux import ReadMux, WriteMux
from rtl.classes import CLASSES_LAYOUT, count_classes, engine_class, sequencer_class
from rtl.decode import FORMATS
from rtl.dispatch import Dispatcher
from rtl.dma_load import LoadDma
from rtl.dma_store import StoreDma
from rtl.matrix import MatrixUnit
from rtl.semaphore import SemaphoreFile
from rtl.sequencer import ENGINES, Sequencer
from rtl.sram import BankedSram
from rtl.vector import VectorUnit
from rtl.watchdog import Watchdog

COUNTERS_LAYOUT = data.StructLayout({name: unsigned(COUNTER_BITS) for name in COUNTERS})
CYCLES_BITS = 64
_ATOM_SHIFT = (HBM_ATOM_BYTES - 1).bit_length()
# Members of the core, and of what controls it, other than the memory.
CONTROL = {
    "start": In(1),
    "code_base": In(32),
    "code_count": In(32),
    "memory_atoms": In(32),
    "running": Out(1),
    "halted": Out(1),
    "trapped": Out(1),
    "trap_cause": Out(CAUSE_BITS),
    "trap_pc": Out(32),
    "trap_where": Out(WHERE_BITS),
    "trap_atom": Out(32),
    "counters": Out(COUNTERS_LAYOUT),
    "classes": Out(CLASSES_LAYOUT),
    "cycles": Out(CYCLES_BITS),
    "conflicts": Out(COUNTER_BITS),
    "bus_errors": Out(COUNTER_BITS),
}
_STATE = ("running", "halted", "trapped", "trap_cause", "trap_pc", "trap_where", "trap_atom")


class Core(wiring.Component):
    """Sequencer, semaphores, four engines with their queues, banked SRAM, one AXI4 master.

    `start` runs the program at `code_base` from its first instruction, with scalar registers,
    semaphores and counters at 0; SRAM and accumulators keep their contents. It is ignored while a
    program runs. A trap comes when all that is ahead of its instruction is done, nothing of it or
    behind it having been started; only those of the watchdog and of bus errors come in between.
    After a trap nothing more is started until a reset.

    Members
    -------
    axi : the memory; an answer that is no OKAY is a bus error
    start, code_base, code_count : pulse; HBM atom of instruction 0; instructions of the program
    memory_atoms : what the program may touch, from atom 0 on; stable while it runs
    running, halted, trapped : a program runs; it ended; it was stopped
    trap_cause, trap_pc, trap_where : see `isa.traps`; valid with `trapped`
    trap_atom : atom of memory that was refused, or of the SRAM, of which a line was wrong
    counters : `isa.counters.COUNTERS`
    classes : `isa.counters.CYCLE_CLASSES` of each engine; those of an engine add up to `cycles`
    cycles, conflicts : cycles that the program ran; those in which the SRAM refused a client
    bus_errors : beats and responses of the memory that were errors
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        super().__init__({"axi": Out(AxiPort(config)), **CONTROL})

    def elaborate(self, platform):
        m = Module()
        m.submodules.sequencer = sequencer = Sequencer(self._config)
        m.submodules.semaphores = semaphores = SemaphoreFile()
        m.submodules.sram = sram = BankedSram(self._config)
        engines = self._engines(m, sequencer, semaphores)
        begin = Signal()
        m.d.comb += [
            begin.eq(self.start & ~sequencer.running & ~sequencer.trapped),
            sequencer.start.eq(begin),
            semaphores.clear.eq(begin),
        ]
        for name in ("code_base", "code_count", "memory_atoms"):
            m.d.comb += getattr(sequencer, name).eq(getattr(self, name))
        for name in _STATE:
            m.d.comb += getattr(self, name).eq(getattr(sequencer, name))
        wiring.connect(m, sequencer.semaphores, semaphores.ports[Engine.SEQUENCER])
        self._connect_memory(m, sequencer, engines)
        self._connect_sram(m, sram, engines)
        events = self._events(sequencer, engines)
        self._guard(m, sequencer, sram, events)
        self._count(m, begin, sequencer, sram, engines, events)
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
            m.d.comb += [queue.done.eq(unit.done), queue.enable.eq(~sequencer.stop)]
            engines[name] = unit, queue
        idle = Cat(queue.idle for _, queue in engines.values())
        working = Cat(queue.working for _, queue in engines.values())
        m.d.comb += [
            sequencer.engines_idle.eq(idle.all()),
            sequencer.engines_quiet.eq(~working.any()),
        ]
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
        wiring.connect(m, units["load"].list, sram.load_list)
        wiring.connect(m, units["store"].port, sram.store_read)
        wiring.connect(m, units["matrix"].weights, sram.matrix_weights)
        wiring.connect(m, units["matrix"].activations, sram.matrix_activations)
        wiring.connect(m, units["vector"].a, sram.vector_a)
        wiring.connect(m, units["vector"].b, sram.vector_b)
        wiring.connect(m, units["vector"].write, sram.vector_write)
        wiring.connect(m, units["vector"].acc_read, units["matrix"].acc_read)

    def _events(self, sequencer, engines) -> dict:
        """Counter → the pulse that it counts."""
        units = {name: unit for name, (unit, _) in engines.items()}
        return {
            "sequencer_instructions": sequencer.retired,
            **{f"{name}_instructions": queue.retired for name, (_, queue) in engines.items()},
            "load_lines": units["load"].lines,
            "store_lines": units["store"].lines,
            "matrix_rows": units["matrix"].rows,
            "vector_vectors": units["vector"].vectors,
        }

    def _guard(self, m, sequencer, sram, events):
        """The watchdog, and the memory's errors."""
        axi, moved = self.axi, Signal()
        m.submodules.watchdog = watchdog = Watchdog(self._config.watchdog_cycles)
        channels = [
            getattr(axi, f"{name}valid") & getattr(axi, f"{name}ready")
            for name in ("ar", "r", "aw", "w", "b")
        ]
        m.d.comb += [
            moved.eq(Cat(*channels, *events.values()).any()),
            watchdog.progress.eq(moved),
            watchdog.running.eq(sequencer.running),
            sequencer.watchdog.eq(watchdog.expired),
        ]
        self._refused(m, sequencer, sram)

    def _refused(self, m, sequencer, sram):
        """Errors of the memory and of the SRAM, and where they were."""
        axi = self.axi
        m.submodules.read_answers = reads = Answers(self._config, read_depths(self._config))
        m.submodules.write_answers = writes = Answers(self._config, write_depths(self._config))
        wrong_read, wrong_write = Signal(), Signal()
        m.d.comb += [
            reads.asked.eq(axi.arvalid & axi.arready),
            reads.asked_id.eq(axi.arid),
            reads.asked_addr.eq(axi.araddr),
            reads.beat.eq(axi.rvalid & axi.rready),
            reads.id.eq(axi.rid),
            reads.last.eq(axi.rlast),
            writes.asked.eq(axi.awvalid & axi.awready),
            writes.asked_id.eq(axi.awid),
            writes.asked_addr.eq(axi.awaddr),
            writes.beat.eq(axi.bvalid & axi.bready),
            writes.id.eq(axi.bid),
            writes.last.eq(1),
            wrong_read.eq(reads.beat & axi.rresp.any()),
            wrong_write.eq(writes.beat & axi.bresp.any()),
            sequencer.bus_error.eq(wrong_read | wrong_write),
            sequencer.sram_error.eq(sram.failed),
            sequencer.error_atom.eq(
                Mux(
                    sram.failed,
                    sram.failed_line * self._config.line_bytes >> _ATOM_SHIFT,
                    Mux(wrong_read, reads.atom, writes.atom),
                )
            ),
        ]

    def _count(self, m, begin, sequencer, sram, engines, events):
        counts = [
            (self.cycles, sequencer.running),
            (self.conflicts, sram.refused),
            (self.bus_errors, sequencer.bus_error),
        ]
        for name in COUNTERS:
            # One register each: partial assignments to the packed structure simulate slowly.
            counts.append((Signal(COUNTER_BITS, name=name), events[name]))
            m.d.comb += getattr(self.counters, name).eq(counts[-1][0])
        for counter, event in counts:
            with m.If(begin):
                m.d.sync += counter.eq(0)
            with m.Elif(event):
                m.d.sync += counter.eq(counter + 1)
        classes = {"sequencer": sequencer_class(sequencer)}
        classes |= {name: engine_class(*pair) for name, pair in engines.items()}
        count_classes(m, begin, sequencer.running, classes, self.classes)
