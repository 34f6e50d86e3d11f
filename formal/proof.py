"""Proof and Mutant: a claim about a unit, and the planted faults that it must refute."""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType

from amaranth.lib import wiring

from formal.bench import Bench


@dataclass(frozen=True)
class Mutant:
    """A fault: ``old``, which occurs once in the source of the unit's module, becomes ``new``."""

    old: str
    new: str

    def plant(self, unit: type[wiring.Component]) -> type[wiring.Component]:
        """The unit's class from the faulty source; the original stays as it is.

        Raises ValueError unless ``old`` occurs exactly once.
        """
        module = sys.modules[unit.__module__]
        source = inspect.getsource(module)
        if (found := source.count(self.old)) != 1:
            raise ValueError(
                f"mutant of {unit.__name__}: {self.old!r} must occur once in "
                f"{module.__name__}, not {found} times"
            )
        twin = ModuleType(module.__name__)
        twin.__package__ = module.__package__
        exec(compile(source.replace(self.old, self.new), module.__file__, "exec"), twin.__dict__)
        return twin.__dict__[unit.__name__]


@dataclass(frozen=True)
class Proof:
    """What ``build`` claims of ``unit`` on a fresh bench.

    ``depth``: cycles from the start of which all runs are examined; every `reach` of the bench and
    the fault of every mutant shows within them. ``unbounded``: the claims also follow for any
    number of cycles (property-directed reachability). ``quick``: cheap enough for each test run.
    """

    unit: type[wiring.Component]
    build: Callable[[Bench, type[wiring.Component]], None]
    mutants: tuple[Mutant, ...]
    depth: int
    unbounded: bool
    quick: bool

    @property
    def name(self) -> str:
        return f"{self.build.__module__.removeprefix('formal.')}.{self.build.__name__}"

    def rtlil(self, mutant: Mutant | None = None) -> str:
        """The bench as text, of the unit or of its mutant."""
        bench = Bench()
        self.build(bench, mutant.plant(self.unit) if mutant else self.unit)
        return bench.rtlil()


def proof(
    unit: type[wiring.Component],
    *mutants: Mutant,
    depth: int,
    unbounded: bool = True,
    quick: bool = True,
) -> Callable[[Callable[[Bench, type[wiring.Component]], None]], Proof]:
    """Make a function that sets up a bench into a `Proof`. Raises ValueError without mutants."""
    if not mutants:
        raise ValueError(f"a proof of {unit.__name__} must have a mutant that it refutes")
    return lambda build: Proof(unit, build, mutants, depth, unbounded, quick)
