"""What each engine did in each cycle: one class per engine and cycle, counted."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data

from isa.counters import COUNTER_BITS, CYCLE_CLASSES
from isa.table import Engine

_ENGINE = data.StructLayout({name: unsigned(COUNTER_BITS) for name in CYCLE_CLASSES})
CLASSES_LAYOUT = data.StructLayout({engine.name.lower(): _ENGINE for engine in Engine})
_NUMBER = {name: index for index, name in enumerate(CYCLE_CLASSES)}


def sequencer_class(sequencer):
    """Number of the class of this cycle of the sequencer, which is never idle."""
    return _first(
        ("operand", sequencer.waiting_operand),
        ("semaphore", sequencer.waiting_semaphore),
        ("memory", sequencer.waiting_memory),
    )


def engine_class(unit, queue):
    """Number of the class of this cycle of an engine behind its dispatcher.

    ``unit`` may have `waiting_bank`, `waiting_operand`, `waiting_memory`, meant while it executes.
    Starting a command, a nop, and raising signals count as work.
    """
    names = unit.signature.members
    waits = [
        (name, queue.working & getattr(unit, f"waiting_{name}"))
        for name in ("bank", "operand", "memory")
        if f"waiting_{name}" in names
    ]
    return _first(("idle", queue.idle), ("semaphore", queue.waiting), *waits)


def _first(*cases):
    """The class of the first case that holds, else `busy`."""
    result = _NUMBER["busy"]
    for name, holds in reversed(cases):
        result = Mux(holds, _NUMBER[name], result)
    return result


def count_classes(m: Module, clear, running, classes: dict, counts) -> None:
    """Count in ``counts`` (of `CLASSES_LAYOUT`) the cycles with `running`; ``classes``: engine name
    → the number of its class."""
    for engine, number in classes.items():
        current = Signal(range(len(_NUMBER)), name=f"{engine}_class")
        m.d.comb += current.eq(number)
        for name, wanted in _NUMBER.items():
            # One register each: partial assignments to the packed structure simulate slowly.
            count = Signal(COUNTER_BITS, name=f"{engine}_{name}")
            m.d.comb += counts[engine][name].eq(count)
            with m.If(clear):
                m.d.sync += count.eq(0)
            with m.Elif(running & (current == wanted)):
                m.d.sync += count.eq(count + 1)
