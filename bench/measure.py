"""Vocabulary of the benchmark: one measured line, and commands whose CPU time is measured.

CPU seconds are user + system time of a process and its children. Everything measured here runs in
one thread (only g++ runs twice at a time), so on an idle machine wall time is hardly longer; on a
busy one CPU time is what can be compared.
"""

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent
T = TypeVar("T")


@dataclass(frozen=True)
class Line:
    """One measurement. ``wanted`` is what it should be: at least, or with ``most`` at most."""

    group: str
    what: str
    value: float | None  # None: not finished within the limit that `note` names
    unit: str
    wanted: float | None = None
    most: bool = False
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the value is as wanted; None where nothing is wanted."""
        if self.wanted is None:
            return None
        if self.value is None:
            return False
        return self.value <= self.wanted if self.most else self.value >= self.wanted

    def to_dict(self) -> dict[str, object]:
        """For JSON, with the verdict."""
        return asdict(self) | {"met": self.met}


@dataclass(frozen=True)
class Cost:
    """What a command took, in seconds; ``finished``: it ended by itself within its limit.

    ``peak_bytes``: the largest resident set of any command so far.
    """

    cpu: float
    wall: float
    finished: bool
    peak_bytes: int


def command_cost(
    command: list[str], env: Mapping[str, str] | None = None, cpu_limit: int | None = None
) -> Cost:
    """Run a command in the checkout. With ``cpu_limit`` (seconds) the system stops it there.

    Raises RuntimeError with the end of its output where it fails.
    """

    def limit() -> None:
        assert cpu_limit is not None
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_limit, cpu_limit))

    before, start = _children(), time.perf_counter()
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        preexec_fn=limit if cpu_limit else None,
    )
    peak = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    cost = Cost(_children() - before, time.perf_counter() - start, done.returncode == 0, peak)
    if done.returncode and not (cpu_limit and cost.cpu > 0.9 * cpu_limit):
        text = done.stdout.decode(errors="replace")[-2000:]
        raise RuntimeError(f"{' '.join(command)} failed with {done.returncode}:\n{text}")
    return cost


def _children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@dataclass
class Stopwatch:
    """Adds up the CPU time of calls in this process."""

    seconds: float = 0.0

    def time(self, function: Callable[..., T], *args: object) -> T:
        """The function's result; its time is added."""
        start = time.process_time()
        try:
            return function(*args)
        finally:
            self.seconds += time.process_time() - start
