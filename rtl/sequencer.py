"""Sequencer: fetches, executes scalar instructions, hands the others to the engines' queues."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.table import Engine
from isa.traps import CAUSE_BITS, WHERE_BITS, Cause
from rtl.axi import ReadClient, WriteClient
from rtl.decode import FORMATS, PORTS, VALUE_BITS, Decoder, field_values, opcode_of
from rtl.dispatch import item_layout
from rtl.encoding import EncodingCheck
from rtl.fetch import Fetch
from rtl.legal import LegalityCheck
from rtl.scalar import ARITHMETIC, Registers, ScalarMemory, alu
from rtl.semaphore import Guard, ProgramOrder, SemaphorePort

ENGINES = {engine: engine.name.lower() for engine in FORMATS if engine != Engine.SEQUENCER}
_ATOM_SHIFT = (HBM_ATOM_BYTES - 1).bit_length()
_SERIAL = ("ld", "st", "sync", "halt")


class Sequencer(wiring.Component):
    """One instruction per cycle, in order, while the fetch keeps up and the queue has room.

    Arithmetic and branches are executed as they are decoded; then every instruction passes the
    legality check (3 cycles) and the program-order count of the semaphores (a cycle for each wait
    and signal, at least one, and one more for waits without signals). Behind that engine
    instructions go to their queues, whatever they wait for. `ld`, `st`, `sync`, `halt`, and what
    else of the sequencer's waits or signals, are executed only there, with nothing ahead of them
    unchecked; each real wait and signal takes a cycle, `ld` and `st` the memory's time, `sync` and
    `halt` until `engines_idle`.

    A fault lets nothing at or behind its instruction go on; the sequencer waits until the engines
    have done what is ahead of it, then traps. The watchdog traps at once; a bus error, which may
    come long after its cause, once no engine is at work.

    Members
    -------
    start, code_base, code_count : run from instruction 0 at that atom, all registers 0; only while
        not running
    memory_atoms : what the program may touch; stable while running
    running, halted, trapped : only a reset revives a sequencer that trapped
    trap_cause, trap_pc, trap_where : valid with `trapped`; of the watchdog and of bus errors the
        first instruction that the sequencer still holds
    trap_atom : the atom of memory or SRAM that an error of theirs concerns
    stop : no engine may start anything more
    watchdog, bus_error, sram_error : pulses
    error_atom : with `bus_error` or `sram_error`, where it was
    fetch, read, write : the memory's clients
    load, store, matrix, vector : streams of queue items
    semaphores : the semaphore file
    engines_idle, engines_quiet : all queues are empty, all engines idle; no engine is at work
    retired : pulse for each scalar instruction completed
    waiting_operand, waiting_semaphore, waiting_memory : what keeps the sequencer from working in
        this cycle, at most one of them: engines, a semaphore, an instruction or a scalar's word
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        queues = {
            name: Out(stream.Signature(item_layout(FORMATS[engine])))
            for engine, name in ENGINES.items()
        }
        flags = ("running", "halted", "trapped", "stop", "retired")
        cycles = ("waiting_operand", "waiting_semaphore", "waiting_memory")
        super().__init__(
            {
                "start": In(1),
                "code_base": In(32),
                "code_count": In(32),
                "memory_atoms": In(32),
                "trap_cause": Out(CAUSE_BITS),
                "trap_pc": Out(32),
                "trap_where": Out(WHERE_BITS),
                "trap_atom": Out(32),
                "watchdog": In(1),
                "bus_error": In(1),
                "sram_error": In(1),
                "error_atom": In(32),
                "fetch": Out(ReadClient(config)),
                "read": Out(ReadClient(config)),
                "write": Out(WriteClient(config)),
                "semaphores": Out(SemaphorePort()),
                "engines_idle": In(1),
                "engines_quiet": In(1),
                **{name: Out(1) for name in (*flags, *cycles)},
                **queues,
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.fetcher = fetcher = Fetch(self._config)
        m.submodules.decoder = decoder = Decoder()
        m.submodules.registers = registers = Registers()
        m.submodules.legality = legality = LegalityCheck(self._config)
        m.submodules.order = order = ProgramOrder()
        m.submodules.guard = guard = Guard()
        m.submodules.scalar_memory = access = ScalarMemory(self._config)
        wiring.connect(m, wiring.flipped(self.fetch), fetcher.memory)
        wiring.connect(m, wiring.flipped(self.semaphores), guard.port)
        wiring.connect(m, wiring.flipped(self.read), access.read)
        wiring.connect(m, wiring.flipped(self.write), access.write)
        trapping, entered = Signal(), Signal()
        self._fetch(m, fetcher, decoder, legality, guard, trapping, entered)
        self._execute(m, decoder, guard, registers, fetcher, access, legality, entered)
        fault = self._issue(m, legality, order, guard, trapping)
        self._control(m, fetcher, legality.o, guard, order, access, trapping, fault)
        self._classify(m, legality, guard, entered, trapping)
        return m

    def _fetch(self, m, fetcher, decoder, legality, guard, trapping, entered):
        """Send each instruction into the check; behind a serial one nothing until it is over."""
        m.submodules.encoding = encoding = EncodingCheck()
        beyond, held, own = Signal(), Signal(), Signal()
        cause = Mux(encoding.reserved, Cause.RESERVED_BITS, Cause.NONE)
        cause = Mux(encoding.unknown, Cause.ILLEGAL_OPCODE, cause)
        guarded = decoder.guards.waits[0].count.any() | decoder.guards.signals[0].valid
        slow = _is(decoder, *_SERIAL)
        entry = legality.i
        m.d.comb += [
            fetcher.start.eq(self.start),
            fetcher.code_base.eq(self.code_base),
            fetcher.code_count.eq(self.code_count),
            beyond.eq(fetcher.pc >= self.code_count),
            fetcher.enable.eq(self.running & ~beyond & ~trapping),
            decoder.word.eq(fetcher.word),
            encoding.word.eq(fetcher.word),
            legality.clear.eq(self.start),
            legality.memory_atoms.eq(self.memory_atoms),
            own.eq(decoder.engine == Engine.SEQUENCER),
            entry.valid.eq(self.running & ~trapping & ~held & (fetcher.valid | beyond)),
            entry.pc.eq(fetcher.pc),
            entry.engine.eq(decoder.engine),
            entry.opcode.eq(decoder.opcode),
            entry.guards.eq(decoder.guards),
            entry.choices.eq(decoder.choices),
            entry.cause.eq(Mux(beyond, Cause.END_OF_PROGRAM, cause)),
            entry.serial.eq((entry.cause != Cause.NONE) | (own & (slow | guarded))),
            entered.eq(entry.valid & entry.ready),
            fetcher.advance.eq((entered & ~entry.serial) | guard.retire),
        ]
        m.d.comb += [entry.operands[port].eq(decoder.operands[port]) for port in range(PORTS)]
        with m.If(self.start | guard.retire):
            m.d.sync += held.eq(0)
        with m.Elif(entered & entry.serial):
            m.d.sync += held.eq(1)

    def _execute(self, m, decoder, guard, registers, fetcher, access, legality, entered):
        """Work of the scalar instructions; a serial one's result is written when it retires."""
        x, y, source = decoder.operands[0], decoder.operands[1], Signal(VALUE_BITS)
        result = alu(m, decoder.opcode, source, x)
        own, now, loading, storing = Signal(), Signal(), Signal(), Signal()
        going, idles, writes = Signal(), Signal(), Signal()
        m.d.comb += [
            own.eq(decoder.engine == Engine.SEQUENCER),
            now.eq((entered & own & ~legality.i.serial) | guard.retire),
            registers.clear.eq(self.start),
            registers.register[PORTS].eq(decoder.rs),
            source.eq(registers.value[PORTS]),
            loading.eq(guard.acquired & _is(decoder, "ld")),
            storing.eq(guard.acquired & _is(decoder, "st")),
            going.eq(~self.stop | access.pending),
            access.load.eq(loading & going),
            access.store.eq(storing & going),
            access.address.eq((x << _ATOM_SHIFT) + y),
            access.data.eq(source),
            access.clear.eq(guard.retire),
            idles.eq(_is(decoder, "halt", "sync")),
            guard.executed.eq(
                Mux(loading | storing, access.finished, Mux(idles, self.engines_idle, 1))
            ),
            writes.eq(_is(decoder, "ld", *ARITHMETIC)),
            registers.write.eq(now & writes),
            registers.index.eq(decoder.rd),
            registers.data.eq(Mux(loading, access.value, result)),
            fetcher.target.eq(y),
            fetcher.jump.eq(
                now & ((_is(decoder, "beq") & (source == x)) | (_is(decoder, "blt") & (source < x)))
            ),
        ]
        for port in range(PORTS):
            m.d.comb += registers.register[port].eq(decoder.register[port])
            m.d.comb += decoder.value[port].eq(registers.value[port])

    def _issue(self, m, legality, order, guard, trapping):
        """Behind the check: count the semaphores, then hand over. Returns whether there is a
        fault."""
        entry, counted, legal, passed = legality.o, Signal(), Signal(), Signal()
        own, taken, fault = Signal(), Signal(), Signal()
        m.d.comb += [
            legal.eq(entry.valid & (entry.cause == Cause.NONE)),
            order.valid.eq(legal & ~counted & ~trapping),
            order.fields.eq(entry.guards),
            order.clear.eq(self.start),
            passed.eq(order.passed | counted),
            own.eq(entry.engine == Engine.SEQUENCER),
            guard.valid.eq(passed & own & entry.serial),
            guard.fields.eq(entry.guards),
            fault.eq((entry.valid & ~legal) | order.starved | order.overflow),
            self.retired.eq(passed & own & Mux(entry.serial, guard.retire, 1)),
        ]
        accepted = []
        for engine, name in ENGINES.items():
            queue, mine = getattr(self, name), Signal(name=f"for_{name}")
            values = field_values(engine, entry.operands, entry.choices)
            fields = [values[field] for field in FORMATS[engine].slots]
            m.d.comb += [
                mine.eq(entry.engine == engine),
                queue.payload.eq(Cat(entry.guards, entry.opcode, fields)),
                queue.valid.eq(passed & mine),
            ]
            accepted.append(mine & queue.ready)
        m.d.comb += [
            taken.eq(Mux(own, self.retired, passed & Cat(accepted).any())),
            entry.ready.eq(taken),
        ]
        m.d.sync += counted.eq(passed & ~taken)
        return fault

    def _control(self, m, fetcher, entry, guard, order, access, trapping, fault):
        """Start, halt and trap."""
        failed, drained, oldest = Signal(), Signal(), Signal(32)
        m.d.comb += [
            self.stop.eq(self.trapped | failed),
            drained.eq(Mux(failed, self.engines_quiet, self.engines_idle) & ~access.pending),
            oldest.eq(Mux(entry.valid, entry.pc, fetcher.pc)),
        ]
        with m.If(self.running & self.watchdog):
            m.d.sync += [trapping.eq(1), self.running.eq(0), self.trapped.eq(1)]
            m.d.sync += self._trap(Cause.WATCHDOG, oldest, 0)
        with m.Elif(self.running & (self.bus_error | self.sram_error) & ~failed):
            m.d.sync += [trapping.eq(1), failed.eq(1)]
            cause = Mux(self.sram_error, Cause.SRAM_ERROR, Cause.BUS_ERROR)
            m.d.sync += [*self._trap(cause, oldest, 0), self.trap_atom.eq(self.error_atom)]
        with m.Elif(fault & ~trapping):
            starved = Mux(order.starved, Cause.NOT_SIGNALLED, Cause.SEMAPHORE_OVERFLOW)
            wrong = entry.cause != Cause.NONE
            m.d.sync += trapping.eq(1)
            m.d.sync += self._trap(
                Mux(wrong, entry.cause, starved),
                entry.pc,
                Mux(wrong, entry.where, order.semaphore),
            )
        with m.Elif(self.running & trapping & drained):
            m.d.sync += [self.running.eq(0), self.trapped.eq(1)]
        with m.Elif(guard.retire & (entry.opcode == opcode_of("halt")) & ~trapping):
            m.d.sync += [self.running.eq(0), self.halted.eq(1)]
        with m.If(self.start):
            m.d.sync += [self.running.eq(1), self.halted.eq(0)]

    def _trap(self, cause, pc, where) -> list:
        return [self.trap_cause.eq(cause), self.trap_pc.eq(pc), self.trap_where.eq(where)]

    def _classify(self, m, legality, guard, entered, trapping):
        """What an idle cycle waits for."""
        entry, idle, queue_full, engines = legality.o, Signal(), Signal(), Signal()
        m.d.comb += [
            idle.eq(~entered & ~entry.ready),
            queue_full.eq(Cat(getattr(self, name).valid for name in ENGINES.values()).any()),
            engines.eq(guard.acquired & ~guard.executed & ~_is(entry, "ld", "st")),
            self.waiting_operand.eq(idle & (trapping | queue_full | engines)),
            self.waiting_semaphore.eq(idle & ~trapping & guard.valid & ~guard.acquired),
            self.waiting_memory.eq(
                idle
                & ~trapping
                & Mux(
                    entry.valid,
                    guard.acquired & ~guard.executed & _is(entry, "ld", "st"),
                    ~legality.busy,
                )
            ),
        ]


def _is(entry, *mnemonics: str):
    """Whether the opcode is one of these."""
    return Cat(entry.opcode == opcode_of(mnemonic) for mnemonic in mnemonics).any()
