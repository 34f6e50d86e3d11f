"""Which instructions of a long run need not be simulated: their like has been, in the same company.

An instruction's company is what its time depends on: the instructions before it as far back as the
engines may still be at work on them, and those behind it that the sequencer may have handed on.
Two are alike if these are, but for where in memory they reach. Where the company of one place is
that of an earlier one and everything between the two is known often enough, the run goes on from
there: the skipped instructions are taken to cost what their likes did.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from isa.table import Engine
from sim.cycle.trace import FIELDS, KINDS, Trace

_PLACES = ("pc", "address", "hbm", "sram", "a", "w", "dst", "b", "offset")
# So many instructions of an engine may not have been done: its queue, and one on its way there.
_BEFORE = {Engine.LOAD: 6, Engine.MATRIX: 3, Engine.VECTOR: 2}
_LONGEST, _BEHIND = 600, 12
_SETTLES = 7  # instructions from where the run goes on to the next sample, at least
_OFTEN = 64  # met: then there are two samples,
_PART = 4  # of the kinds, the first ones that are met again, for the spread; of others one


@dataclass(frozen=True)
class Plan:
    """Of a trace of n instructions. ``likes``, (n,): the number of each one's company. ``kept``:
    places of those that are simulated, in order; ``fresh``: which of these are samples, the others
    only lead from where the run goes on to what is not known yet. ``trace``: of these alone."""

    likes: NDArray[np.int64]
    kept: NDArray[np.int64]
    fresh: NDArray[np.bool_]
    trace: Trace


def make_plan(trace: Trace, more: int = 1) -> Plan:
    """Of each kind of company one or two are simulated, or ``more`` times as many."""
    likes = company(trace)
    often = np.bincount(likes, trace.times) >= _OFTEN
    chosen, fresh = _choose(likes, more * np.where(often, 2, 1), more * len(often) // _PART)
    kept = np.array(chosen, np.int64)
    gathers = trace.commands[trace.order, FIELDS["kind"]] == KINDS["Gather"]
    rows = np.where(gathers, trace.commands[trace.order, FIELDS["rows"]], 0)
    stays = np.zeros(len(likes), bool)
    stays[kept] = True
    numbers = trace.numbers[np.repeat(stays, rows)]
    part = replace(
        trace, order=trace.order[kept], jumps=trace.jumps[kept], numbers=numbers, repeats=()
    )
    return Plan(likes, kept, np.array(fresh), part)


def company(trace: Trace) -> NDArray[np.int64]:
    """(n,): numbers that are equal where the company is, and the semaphores stand alike."""
    count = len(trace.order)
    words = _words(trace)
    first = np.minimum(np.arange(count), _starts(trace))
    last = np.minimum(np.arange(count) + _BEHIND, count)
    powers = np.full(count + 1, _ODD, np.uint64)
    powers[0] = 1
    powers = np.multiply.accumulate(powers)
    inverse = np.full(count + 1, pow(int(_ODD), -1, 1 << 64), np.uint64)
    inverse[0] = 1
    inverse = np.multiply.accumulate(inverse)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(words * powers[:-1])])
    window = (sums[last] - sums[first]) * inverse[first]
    lengths = (np.arange(count) - first).astype(np.uint64)
    mixed = window + lengths * _dice(1)[0] + _levels(trace)
    return np.unique(mixed, return_inverse=True)[1]


def _dice(count: int) -> NDArray[np.uint64]:
    return np.random.default_rng(count).integers(0, 1 << 64, count, np.uint64)


_ODD = _dice(2)[1] | np.uint64(1)


def _words(trace: Trace) -> NDArray[np.uint64]:
    """(n,): a random number for each kind of instruction, equal where all but places are."""
    rows = trace.commands.copy()
    rows[:, [FIELDS[name] for name in _PLACES]] = 0
    dice = _dice(rows.shape[1] + 1)
    hashed = (rows.astype(np.uint64) * dice[:-1]).sum(axis=1, dtype=np.uint64)
    hashed ^= hashed >> np.uint64(29)
    hashed *= _ODD
    return hashed[trace.order] + trace.jumps * dice[-1]


def _starts(trace: Trace) -> NDArray[np.int64]:
    """(n,): where the company of each begins."""
    count = len(trace.order)
    engines = trace.commands[trace.order, FIELDS["engine"]]
    places = np.arange(count)
    starts = places
    for engine, before in _BEFORE.items():
        own = np.flatnonzero(engines == engine)
        at = np.searchsorted(own, places) - before
        found = own[np.maximum(at, 0)] if own.size else places * 0
        starts = np.minimum(starts, np.where(at >= 0, found, 0))
    return np.maximum(starts, places - _LONGEST)


def _levels(trace: Trace) -> NDArray[np.uint64]:
    """(n,): of all signals before it less all waits, a sum that tells how the semaphores stand."""
    dice = _dice(32)
    change = np.zeros(len(trace.commands), np.uint64)
    for index in range(3):
        wait, by = (trace.commands[:, FIELDS[f"wait_{n}_{index}"]] for n in ("semaphore", "count"))
        change -= dice[wait] * by.astype(np.uint64)
        signalled = trace.commands[:, FIELDS["signals"]] > index
        change += np.where(signalled, dice[trace.commands[:, FIELDS[f"signal_{index}"]]], 0)
    return np.concatenate([np.zeros(1, np.uint64), np.cumsum(change[trace.order])[:-1]])


def _choose(
    likes: NDArray[np.int64], wanted: NDArray[np.int64], spare: int
) -> tuple[list[int], list[bool]]:
    """Places that are simulated, and which of them are samples: not those of a known kind that only
    lead from where the run goes on to what is not known yet. ``wanted``: samples of each kind, and
    ``spare`` more in all."""
    count, end = len(likes), 0
    missing = wanted.tolist()
    listed = likes.tolist()
    order = np.argsort(likes, kind="stable")
    bounds = np.searchsorted(likes[order], np.arange(len(missing) + 1))
    kept, fresh, place = [], [], 0
    while place < count:
        like = listed[place]
        least = -1 if spare else 0
        known = missing[like] <= least
        if known:
            end = max(end, place)
            while end < count and missing[listed[end]] <= least:
                end += 1
            alike = order[bounds[like] : bounds[like + 1]]
            last = int(alike[np.searchsorted(alike, max(end - _SETTLES, place), "right") - 1])
            if last > place:
                place = last
                continue
        else:
            spare -= missing[like] == 0
            missing[like] -= 1
        kept.append(place)
        fresh.append(not known)
        place += 1
    return kept, fresh
