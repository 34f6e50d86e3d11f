"""Semaphores: no count below zero, no signal lost, no wait taken twice."""

from amaranth.hdl import Cat, Const, Mux, Signal, Value

from formal.bench import Bench, implies
from formal.proof import Mutant, proof
from isa.table import SEMAPHORE_BITS, SIGNALS, WAITS, Engine
from rtl.semaphore import COUNTER_BITS, Guard, SemaphoreFile


def _number(two_bits: Value) -> Value:
    """One of four semaphores, from both ends of the file: a solver has no time for all."""
    return Cat(two_bits[0], Const(0, SEMAPHORE_BITS - 2), two_bits[1])


@proof(
    SemaphoreFile,
    Mutant("(value >= port.count)", "(value + 1 >= port.count)"),
    Mutant("change = Mux(port.raises, 1, -port.count)", "change = Mux(port.raises, 1, -1)"),
    Mutant("granted.eq(wanted & -wanted)", "granted.eq(wanted)"),
    Mutant(
        "read.data, 0)),\n                met[index]",
        "read.data, read.data)),\n                met[index]",
    ),
    depth=7,
    quick=False,
)
def counts(bench: Bench, unit: type) -> None:
    """One operation per cycle, signals first, then by engine; a wait passes once its count is
    there, and takes just that. One of the four semaphores in use is counted beside."""
    file = bench.add("file", unit())
    m, ports = bench.m, file.ports
    chosen, value = _number(bench.symbol("chosen", 2)), Signal(COUNTER_BITS)
    for engine in Engine:
        number = _number(bench.free(f"number_{engine.name}", 2))
        m.d.comb += ports[engine].semaphore.eq(number)
    raises = Cat(port.valid & port.raises for port in ports)
    grants = Cat(port.valid & port.ready for port in ports)
    bench.prove((grants & (grants - 1)) == 0)
    bench.prove(implies(raises.any(), grants == (raises & -raises)))
    bench.assume(implies(value[-1], ~raises.any()))  # programs keep below it
    for engine in Engine:
        port = ports[engine]
        bench.prove(implies(port.ready, port.valid))
        mine, enough = port.valid & (port.semaphore == chosen), value >= port.count
        with m.If(mine & port.ready):
            m.d.sync += value.eq(value + Mux(port.raises, 1, -port.count))
            bench.prove(port.raises | enough)
        others = Cat(ports[other].valid for other in Engine if other != engine).any()
        bench.prove(implies(mine & ~port.raises & ~others, port.ready == enough))
    with m.If(file.clear):
        m.d.sync += value.eq(0)
    bench.reach((value == 1) & (bench.past(value) == 3) & bench.sticky(file.clear))


@proof(
    Guard,
    Mutant("self.acquired.eq(self.valid & ~waiting.any())", "self.acquired.eq(self.valid)"),
    Mutant("raised.eq(raised | signal)", "raised.eq(signal)"),
    Mutant("wait.eq(waiting & -waiting)", "wait.eq(waiting)"),
    Mutant("(raising == signal) & self.port.ready", "(raising == signal)"),
    depth=9,
)
def guard(bench: Bench, unit: type) -> None:
    """Each wait is taken once, in order, before `acquired`; each signal is given once, when the
    instruction is executed; nothing else is asked of the semaphores."""
    guard = bench.add("guard", unit())
    m, port, fields = bench.m, guard.port, guard.fields
    kept = bench.past(guard.valid & ~guard.retire)
    bench.assume(implies(kept, guard.valid & (fields.as_value() == bench.past(fields))))
    executed = bench.past(guard.executed & guard.valid & ~guard.retire)
    bench.assume(implies(executed, guard.executed))
    bench.assume(implies(guard.executed, guard.acquired | ~guard.valid))
    taken, given = Signal(WAITS), Signal(SIGNALS)
    wanted_waits = Cat(fields.waits[i].count != 0 for i in range(WAITS))
    wanted_signals = Cat(fields.signals[i].valid for i in range(SIGNALS))
    waiting, raising = wanted_waits & ~taken, wanted_signals & ~given
    # The slot at work is the first one that is left.
    operations = []
    for i in range(WAITS):
        first = waiting[i] & ~waiting[:i].any()
        same = Cat(port.semaphore, port.count) == fields.waits[i].as_value()
        operations.append((guard.valid & first, ~port.raises & same, taken[i]))
    for i in range(SIGNALS):
        first = ~waiting.any() & guard.executed & raising[i] & ~raising[:i].any()
        same = port.semaphore == fields.signals[i].semaphore
        operations.append((guard.valid & first, port.raises & same, given[i]))
    for at_work, as_written, over in operations:
        bench.prove(implies(at_work, port.valid & as_written))
        with m.If(at_work & port.ready):
            m.d.sync += over.eq(1)
    with m.If(guard.retire):
        m.d.sync += [taken.eq(0), given.eq(0)]
    bench.prove(port.valid == Cat(at_work for at_work, _, _ in operations).any())
    bench.prove(guard.acquired == (guard.valid & ~waiting.any()))
    last = (raising & (raising - 1)) == 0
    over = guard.acquired & guard.executed & (~raising.any() | (last & port.ready))
    bench.prove(guard.retire == over)
    full = (wanted_waits.all()) & (wanted_signals.all())
    bench.reach(guard.retire & full & bench.sticky(guard.retire))
