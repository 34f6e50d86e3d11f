"""When each instruction of a run retires, and which cycles are its own (`record.h`)."""

import ctypes
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from isa.counters import CYCLE_CLASSES
from isa.table import Engine
from sim.cycle.trace import FIELDS, Trace

CLASSES = list(CYCLE_CLASSES)
_TIMES = np.dtype(
    [
        ("place", np.int64),
        ("end", np.int64),
        ("classes", np.int64, len(CYCLE_CLASSES)),
        ("owned", np.int64, len(CYCLE_CLASSES)),
    ]
)  # Times of `record.h`
TimesPointers = ctypes.c_void_p * len(Engine)


@dataclass(frozen=True)
class Record:
    """Of the n instructions that a trace executes, in program order, once a run has filled it.

    ``pcs``, ``engines``, (n,): which instruction, of which `Engine`. `end`, (n,): cycles from the
    run's start to its retirement, that included. `classes`, (n, classes): the cycles that its
    engine spent on it, waits for semaphores included. `owned`, (n, classes): those in which it was
    the oldest that had not retired, which add up to the run's.
    """

    pcs: NDArray[np.int64]
    engines: NDArray[np.int64]
    _lists: list[NDArray]  # of each engine, with one entry more

    @classmethod
    def of_trace(cls, trace: Trace) -> "Record":
        """An empty one."""
        executed = trace.commands[trace.order]
        engines = executed[:, FIELDS["engine"]]
        lists = []
        for engine in Engine:
            places = np.flatnonzero(engines == engine)
            times = np.zeros(len(places) + 1, _TIMES)
            times["place"] = np.append(places, np.iinfo(np.int64).max)
            lists.append(times)
        return cls(executed[:, FIELDS["pc"]], engines, lists)

    def pointers(self) -> ctypes.Array:
        """What the C side writes to."""
        return TimesPointers(*(times.ctypes.data for times in self._lists))

    @property
    def end(self) -> NDArray[np.int64]:
        return self._of("end")

    @property
    def classes(self) -> NDArray[np.int64]:
        return self._of("classes")

    @property
    def owned(self) -> NDArray[np.int64]:
        return self._of("owned")

    @property
    def begin(self) -> NDArray[np.int64]:
        """(n,): cycles before it began to work, its waits for semaphores over."""
        classes = self.classes
        return self.end - classes.sum(axis=1) + classes[:, CLASSES.index("semaphore")]

    def _of(self, name: str) -> NDArray[np.int64]:
        entries = np.concatenate([times[:-1] for times in self._lists])
        return entries[name][np.argsort(entries["place"])]
