"""Runs the points of a sweep that are not known yet, in parallel."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait as wait_for
from pathlib import Path

from sim.sweep.journal import Journal, Row
from sim.sweep.measure import FAILED, IMPOSSIBLE, OK, compile_to, measure
from sim.sweep.points import Point
from sim.sweep.values import SweepError


@dataclass(frozen=True)
class _Task:
    """Work for one process, and the points that wait for it: one, or all of a program."""

    points: Sequence[Point]
    image: Path
    compiles: bool

    def call(self, check: bool) -> tuple[Callable[..., Row], tuple]:
        point = self.points[0]
        assert point.config is not None
        if not self.compiles:
            return measure, (self.image, point.config, point.launch)
        # The one with most memory: what fits none of the others is found when they are measured.
        largest = max((p.config for p in self.points if p.config), key=lambda c: c.capacity_bytes)
        return compile_to, (point.program, largest, self.image, check)


def run_points(
    points: Sequence[Point], journal: Journal, folder: Path, jobs: int, check: bool = True
) -> Iterator[Point]:
    """Each of the points as its row comes into the journal; programs are compiled into ``folder``
    once for all chips that they run on.

    A point that can't exist has a row that says why; one that fails otherwise, too, and is tried
    again next time. Raises OSError, and SweepError where a worker process dies.
    """
    todo: deque[_Task] = deque()
    for same in _by_program(points):
        if same[0].config is None:
            yield from _note(journal, same, {"status": IMPOSSIBLE, "reason": same[0].reason})
            continue
        image = image_path(same[0], folder)
        todo += [_Task(same, image, True)] if not image.exists() else _measured(same, image)
    running: dict[Future[Row], _Task] = {}
    with _workers(min(jobs, len(points)) or 1) as submit:
        while todo or running:
            while todo and len(running) <= jobs:
                task = todo.popleft()
                work, arguments = task.call(check)
                running[submit(work, *arguments)] = task
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task = running.pop(future)
                row = _result(future)
                if task.compiles and row["status"] == OK:
                    todo.extendleft(reversed(_measured(task.points, task.image)))
                else:
                    yield from _note(journal, task.points, row)


def image_path(point: Point, folder: Path) -> Path:
    """Where a point's program lies or will lie."""
    if point.program.kind == "image":
        return point.program.path
    return folder / f"{point.program_key}.jx"


def _by_program(points: Sequence[Point]) -> Iterator[list[Point]]:
    found: dict[str, list[Point]] = {}
    for point in points:
        found.setdefault(point.program_key, []).append(point)
    yield from found.values()


def _measured(points: Sequence[Point], image: Path) -> list[_Task]:
    """Launch by launch, as a worker keeps what chips with another memory have in common."""
    ordered = sorted(points, key=lambda point: (point.launch.tokens, point.launch.past))
    return [_Task([point], image, False) for point in ordered]


def _result(future: Future[Row]) -> Row:
    try:
        return future.result()
    except BrokenProcessPool:
        raise SweepError("a worker process died (no memory left?): try fewer --jobs") from None
    except OSError:
        raise
    except Exception as error:  # of the program, not of the user: the other points go on
        return {"status": FAILED, "reason": f"{type(error).__name__}: {error}"}


def _note(journal: Journal, points: Sequence[Point], row: Row) -> Iterator[Point]:
    for point in points:
        journal.add(row_of(point) | row)
        yield point


def row_of(point: Point) -> Row:
    """What is known of a point before it runs."""
    return {
        "key": point.key,
        "program": point.program.name,
        "launch": point.launch.kind,
        "tokens": point.launch.tokens,
        "past": point.launch.past,
        "config": point.fields,
        "command": point.command,
    }


@contextmanager
def _workers(jobs: int) -> Iterator[Callable[..., Future[Row]]]:
    """A function that hands work to one of so many processes, which end with this one."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, _end_with_parent)

    def submit(work: Callable[..., Row], *arguments: object) -> Future[Row]:
        # Processes start here and inherit the mask: Ctrl-C is this process' matter.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return pool.submit(work, *arguments)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        yield submit
    except BaseException:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait_for([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
