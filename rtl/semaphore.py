"""Counting semaphores: the file of counters, and the guard that serves an instruction's fields."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from isa.table import (
    SEMAPHORE_BITS,
    SEMAPHORE_MAX,
    SEMAPHORES,
    SIGNALS,
    WAIT_COUNT_BITS,
    WAITS,
    Engine,
)

# Program order keeps a counter at SEMAPHORE_MAX; signals may come before waits that are ahead of
# them in the program, but no more of them than queues hold.
COUNTER_BITS = SEMAPHORE_MAX.bit_length() + 1
WAIT = data.StructLayout({"semaphore": SEMAPHORE_BITS, "count": WAIT_COUNT_BITS})
SIGNAL = data.StructLayout({"semaphore": SEMAPHORE_BITS, "valid": 1})
GUARDS = data.StructLayout(
    {"waits": data.ArrayLayout(WAIT, WAITS), "signals": data.ArrayLayout(SIGNAL, SIGNALS)}
)


class SemaphorePort(wiring.Signature):
    """One operation on a semaphore, seen from the engine.

    Members: `valid`; `raises` is 1 to raise by 1, 0 to lower by `count` once the counter is
    at least `count`; `semaphore`; `ready` when it is done, in this cycle.
    """

    def __init__(self):
        super().__init__(
            {
                "valid": Out(1),
                "raises": Out(1),
                "semaphore": Out(SEMAPHORE_BITS),
                "count": Out(WAIT_COUNT_BITS),
                "ready": In(1),
            }
        )


class SemaphoreFile(wiring.Component):
    """32 counters. One operation per cycle: signals before waits, then by engine.

    A wait that cannot be met yet takes no cycle from others. No engine starves: those ahead of it
    run out of tokens or of instructions.

    Members: `ports` one for each engine, by its number; `clear` sets all counters to 0.
    """

    def __init__(self):
        super().__init__({"ports": In(SemaphorePort()).array(len(Engine)), "clear": In(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.counters = counters = memory.Memory(
            shape=unsigned(COUNTER_BITS), depth=SEMAPHORES, init=[]
        )
        write = counters.write_port()
        used = Signal(SEMAPHORES)  # the others count as 0: the memory itself has no reset
        met = Signal(len(Engine))
        values = []
        for index, port in enumerate(self.ports):
            read = counters.read_port(domain="comb")
            value = Signal(COUNTER_BITS, name=f"value_{index}")
            m.d.comb += [
                read.addr.eq(port.semaphore),
                value.eq(Mux(used.bit_select(port.semaphore, 1), read.data, 0)),
                met[index].eq(port.valid & ~port.raises & (value >= port.count)),
            ]
            values.append(value)
        granted = self._grant(m, met)
        addresses, results = 0, 0  # no default that is overwritten: Icarus 11 hangs on these
        for index, port in enumerate(self.ports):
            mine = granted[index]
            m.d.comb += port.ready.eq(mine)
            change = Mux(port.raises, 1, -port.count)
            addresses |= Mux(mine, port.semaphore, 0)
            results |= Mux(mine, (values[index] + change)[:COUNTER_BITS], 0)
            with m.If(mine):
                m.d.sync += used.bit_select(port.semaphore, 1).eq(1)
        m.d.comb += [
            write.en.eq(granted.any()),
            write.addr.eq(addresses),
            write.data.eq(results),
        ]
        with m.If(self.clear):
            m.d.sync += used.eq(0)
        return m

    def _grant(self, m, met):
        """One bit per engine, at most one of them set."""
        granted, raising = Signal(len(Engine)), Signal(len(Engine))
        m.d.comb += raising.eq(Cat(port.valid & port.raises for port in self.ports))
        wanted = Mux(raising.any(), raising, met)
        m.d.comb += granted.eq(wanted & -wanted)  # the lowest bit that is set
        return granted


class Guard(wiring.Component):
    """Acquires an instruction's waits one by one, then, once it is executed, raises its signals.

    An instruction without waits and signals passes in one cycle; each wait and signal takes at
    least one.

    Members
    -------
    valid, fields : the instruction's, stable until `retire`
    acquired : all waits are met; the instruction may execute
    executed : all that it did is visible; stays until `retire`
    retire : last cycle of the instruction
    port : the semaphore file
    """

    def __init__(self):
        super().__init__(
            {
                "valid": In(1),
                "fields": In(GUARDS),
                "acquired": Out(1),
                "executed": In(1),
                "retire": Out(1),
                "port": Out(SemaphorePort()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        waits, signals = self.fields.waits, self.fields.signals
        lowered, raised = Signal(WAITS), Signal(SIGNALS)  # what is done
        waiting, raising = Signal(WAITS), Signal(SIGNALS)  # what is left
        wait, signal = Signal(WAITS), Signal(SIGNALS)  # its first, at work
        finishing = Signal()
        m.d.comb += [
            waiting.eq(Cat(waits[i].count != 0 for i in range(WAITS)) & ~lowered),
            raising.eq(Cat(signals[i].valid for i in range(SIGNALS)) & ~raised),
            wait.eq(waiting & -waiting),
            signal.eq(raising & -raising),
            self.acquired.eq(self.valid & ~waiting.any()),
            finishing.eq(self.acquired & self.executed),
            self.port.raises.eq(finishing),
            self.port.valid.eq(self.valid & Mux(finishing, raising.any(), waiting.any())),
            self.retire.eq(finishing & ((raising == 0) | ((raising == signal) & self.port.ready))),
        ]
        # No default that is overwritten: Icarus 11 never leaves time where these feed each other.
        semaphore, count = 0, 0
        for i in range(SIGNALS):
            semaphore |= Mux(finishing & signal[i], signals[i].semaphore, 0)
        for i in range(WAITS):
            semaphore |= Mux(~finishing & wait[i], waits[i].semaphore, 0)
            count |= Mux(~finishing & wait[i], waits[i].count, 0)
        m.d.comb += [self.port.semaphore.eq(semaphore), self.port.count.eq(count)]
        with m.If(self.retire):
            m.d.sync += [lowered.eq(0), raised.eq(0)]
        with m.Elif(self.port.valid & self.port.ready):
            with m.If(finishing):
                m.d.sync += raised.eq(raised | signal)
            with m.Else():
                m.d.sync += lowered.eq(lowered | wait)
        return m


class ProgramOrder(wiring.Component):
    """Checks that each wait was signalled by instructions ahead of it in the program.

    An instruction takes a cycle for each wait and each signal, and one where it has no signal; the
    last of them is that of `passed`.

    Members
    -------
    valid, fields : the instruction's, stable until `passed`
    passed : pulse, all is well
    starved, overflow : faults: a wait asks for more than was signalled, a counter is full; only a
        reset ends them
    semaphore : the one that is at fault
    clear : sets all counters to 0
    """

    def __init__(self):
        super().__init__(
            {
                "valid": In(1),
                "fields": In(GUARDS),
                "passed": Out(1),
                "starved": Out(1),
                "overflow": Out(1),
                "semaphore": Out(SEMAPHORE_BITS),
                "clear": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.guard = guard = Guard()
        m.submodules.counters = counters = memory.Memory(
            shape=unsigned(COUNTER_BITS), depth=SEMAPHORES, init=[]
        )
        write, read = counters.write_port(), counters.read_port(domain="comb")
        used = Signal(SEMAPHORES)  # the others count as 0: the memory itself has no reset
        value, port = Signal(COUNTER_BITS), guard.port
        m.d.comb += [
            guard.valid.eq(self.valid),
            guard.fields.eq(self.fields),
            guard.executed.eq(1),
            self.passed.eq(guard.retire),
            read.addr.eq(port.semaphore),
            value.eq(Mux(used.bit_select(port.semaphore, 1), read.data, 0)),
            self.starved.eq(port.valid & ~port.raises & (value < port.count)),
            self.overflow.eq(port.valid & port.raises & (value == SEMAPHORE_MAX)),
            self.semaphore.eq(port.semaphore),
            port.ready.eq(~self.starved & ~self.overflow),
            write.en.eq(port.valid & port.ready),
            write.addr.eq(port.semaphore),
            write.data.eq(value + Mux(port.raises, 1, -port.count)),
        ]
        with m.If(self.clear):
            m.d.sync += used.eq(0)
        with m.Elif(write.en):
            m.d.sync += used.bit_select(port.semaphore, 1).eq(1)
        return m
