"""Runs benches against planted designs: pytest in a child process, one for each mutant.

The benches run as they are. What they emit is replaced on its way into the simulator's build, and
the mutant is chosen by a plusarg, so that a design is emitted and built once for all its mutants.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest

from rtl.emit import emit
from sim.builds import ROOT
from tb import build as tb_build, runner as tb_runner
from tb.mutate_design import PLUSARG
from tb.mutate_units import Unit

_CONTEXT = multiprocessing.get_context("fork")  # children inherit all modules and designs


@dataclass
class Built:
    """What one test builds: original design, module name, and the finished simulator."""

    test: str
    design: str
    top: str
    build: tb_build.Build | None = None


@dataclass(eq=False)  # pytest wants plugins that can be hashed
class Session:
    """One run of pytest. ``failed``: the first failing test; ``log``: what it said."""

    seconds: dict[str, float] = field(default_factory=dict)
    failed: str = ""
    log: str = ""
    built: list[Built] = field(default_factory=list)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A hook of pytest: the session is a plugin."""
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0) + report.duration
        if report.failed and not self.failed:
            self.failed, self.log = report.nodeid, report.longreprtext[-3000:]

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A hook of pytest: tests that cannot even be imported have failed."""
        if report.failed and not self.failed:
            self.failed, self.log = report.nodeid, report.longreprtext[-3000:]


def collect(unit: Unit, seed: int) -> Session:
    """What a unit's tests build, without building or running anything: no `build` in it."""

    session = Session()

    def work() -> Session:
        def note(component: object, top: str, *_: object, **__: object) -> None:
            session.built.append(Built(_current_test(), emit(component, top), top))
            pytest.skip("ended on purpose: here a test only says what it builds")

        tb_runner.build = note
        _pytest(session, unit, [*unit.tests, "-k", unit.choice], seed)
        return session

    return _checked(unit, work)


def build_planted(unit: Unit, tests: Sequence[str], planted: dict[str, str], seed: int) -> Session:
    """Run tests with planted designs, no mutant active; ``planted``: by original design."""

    session = Session()

    def work() -> Session:
        build, emitted = tb_runner.build, list[tuple[str, str]]()

        def emit_planted(component: object, top: str, **_: object) -> str:
            emitted.append((emit(component, top), top))
            return planted.get(emitted[-1][0], emitted[-1][0])

        def note(*args: object, **settings: object) -> tb_build.Build:
            result = build(*args, **settings)
            session.built.append(Built(_current_test(), *emitted[-1], result))
            return result

        tb_build.emit, tb_runner.build = emit_planted, note
        _pytest(session, unit, tests, seed)
        return session

    return _checked(unit, work)


def run_mutant(
    unit: Unit, tests: Sequence[str], built: Sequence[Built], index: int, seed: int
) -> Session:
    """Run ``tests``, the first failure ending it, with mutant ``index`` active (0: none)."""
    session = Session()
    waiting = {test: [entry.build for entry in built if entry.test == test] for test in tests}

    def build(*_: object, **__: object) -> tb_build.Build | None:
        return waiting[_current_test()].pop(0)

    def make_runner(simulator: str) -> tb_build.Runner:
        runner = tb_build.make_runner(simulator)
        test = runner.test

        def with_plusarg(**settings: Any) -> Path:
            settings["plusargs"] = [*settings.get("plusargs", []), f"+{PLUSARG}={index}"]
            return test(**settings)

        runner.test = with_plusarg
        return runner

    tb_runner.build, tb_runner.make_runner = build, make_runner
    _pytest(session, unit, tests, seed)
    return session


def time_benches(unit: Unit, tests: Sequence[str], built: Sequence[Built], seed: int) -> Session:
    """As `run_mutant` without a mutant; the benches must pass."""
    return _checked(unit, lambda: run_mutant(unit, tests, built, 0, seed))


def _checked(unit: Unit, work: Callable[[], Session]) -> Session:
    """A session in a child. Raises ValueError when a test fails or none runs: without that no
    failure would mean anything."""
    ((_, session),) = in_children([("", work)], limit=3600, workers=1)
    if not isinstance(session, Session) or session.failed or not session.seconds:
        what = f"{session.failed}\n{session.log}" if isinstance(session, Session) else session
        raise ValueError(f"{unit.name}: the benches must pass without a mutant: {what}")
    return session


def _current_test() -> str:
    return os.environ["PYTEST_CURRENT_TEST"].rsplit(" ", 1)[0]


def _pytest(session: Session, unit: Unit, tests: Sequence[str], seed: int) -> None:
    options = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", f"--rootdir={ROOT}"]
    chosen = [f"--sim={unit.simulator}", f"--seed={seed}"]
    pytest.main([*options, *chosen, *tests], plugins=[session])


def in_children(
    jobs: Sequence[tuple[object, Callable[[], Session]]], limit: float, workers: int
) -> Iterator[tuple[object, Session | str]]:
    """Run the jobs, each in a child process, ``workers`` at a time; yields (name, result) as they
    end. A child that takes more than ``limit`` seconds is killed with all that it has started."""
    waiting, running = list(jobs), {}
    while waiting or running:
        while waiting and len(running) < workers:
            name, work = waiting.pop(0)
            receive, send = _CONTEXT.Pipe(duplex=False)
            child = _CONTEXT.Process(target=_child, args=(work, send))
            child.start()
            send.close()
            running[child.sentinel] = (name, child, receive, time.monotonic() + limit)
        for key, (name, child, receive, deadline) in list(running.items()):
            result = _result(child, receive, deadline)
            if result is not None:
                del running[key]
                yield name, result
        time.sleep(0.02)


def _child(work: Callable[[], Session], send: Connection) -> None:
    """Entry of a child: a session of its own, and silence."""
    os.setsid()
    os.chdir(ROOT)
    quiet = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(quiet, stream)
    send.send(work())
    send.close()


def _result(
    child: multiprocessing.Process, receive: Connection, deadline: float
) -> Session | str | None:
    """A child's result, None while it runs."""
    result: Session | str | None = None
    if receive.poll():
        try:
            result = receive.recv()
        except EOFError:
            result = "crash"
    elif not child.is_alive():
        result = "crash"
    elif time.monotonic() > deadline:
        result = "timeout"
        _kill_session(child.pid)
    if result is not None:
        child.join()
        receive.close()
    return result


def _kill_session(leader: int) -> None:
    """End a child and all that it has started, which may have made groups of their own."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.getsid(int(entry.name)) == leader:
                os.kill(int(entry.name), signal.SIGKILL)
        except ProcessLookupError:
            continue  # it has just ended
