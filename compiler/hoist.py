"""hoist_loads: loads of what is there before the launch come early, where there is room for it."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from compiler.virtual import Buffer, Item, Label, VirtualOp, accesses

PREFETCH_DEPTH = 4  # loads issued ahead of the one whose data is consumed


def hoist_loads(
    items: list[Item], bodies: Sequence[int], room: int | None = None, early_bytes: int = 0
) -> list[Item]:
    """Move each prefetchable load up to just before the first use of the one PREFETCH_DEPTH before,
    or as far as what is live together takes no more than ``room`` bytes of SRAM.

    Nothing leaves its loop, whose first index is one of ``bodies``, and nothing moves into a loop
    that it passes. The loads' order stays, so the load engine sees them in order of need while the
    sequencer runs ahead. Of those that go to the beginning of a body only the first ones of
    ``early_bytes`` in all pass a fence (`lnop`), the others come behind it: what stands before it
    is wanted first.
    """
    loads = [i for i, item in enumerate(items) if isinstance(item, VirtualOp) and item.prefetch]
    first_use = _first_uses(items, loads)
    target: dict[int, list[int]] = {}
    inner, fences = _loops(items), _fences(items, bodies)
    live, place = live_bytes(items), 0
    early = dict.fromkeys(bodies, 0)  # bytes
    for order, index in enumerate(loads):
        size, before = _target(items[index]).size, place
        start = max(body for body in bodies if body <= index)
        place = first_use[loads[order - PREFETCH_DEPTH]] if order >= PREFETCH_DEPTH else start
        place = min(max(place, start), index)
        if room is not None:
            place = _first_with_room(live, max(place, before), index, room - size)
        for begin, end in inner:
            # A label behind the branch back is where the loop is left from inside.
            last = end + isinstance(items[min(end + 1, index)], Label)
            if begin < place <= last < index:
                fits = room is None or live[begin:place].max() + size <= room
                behind = min(fences[start], index) if end < fences[start] else 0
                behind = behind or _behind_sync(items, end, index)
                place = begin if fits and begin >= before else behind
        early[start] += size
        if place < fences[start] and early[start] > early_bytes:
            place = min(fences[start], index)
        live[place:index] += size
        target.setdefault(place, []).append(index)
    moved = set(loads)
    result: list[Item] = []
    for i, item in enumerate(items):
        for each in [items[j] for j in target.get(i, [])] + [item] * (i not in moved):
            result += [*each.setup, each] if isinstance(each, VirtualOp) else [each]
    return result


def _behind_sync(items: list[Item], end: int, index: int) -> int:
    """The first place behind a loop that ends at ``end`` at which all engines have been done, up to
    ``index``: what semaphores order does not know how often the loop is passed."""
    syncs = (i for i in range(end, index) if _is_sync(items[i]))
    return next(syncs, index - 1) + 1


def _is_sync(item: Item) -> bool:
    return isinstance(item, VirtualOp) and item.mnemonic == "sync"


def live_bytes(items: list[Item]) -> NDArray[np.int64]:
    """Of SRAM at each item: buffers that are touched by then and will be again, or now."""
    first, last, sizes = dict[str, int](), dict[str, int](), dict[str, int]()
    for i, item in enumerate(items):
        for access in accesses(item):
            if access.buffer.space == "sram":
                first.setdefault(access.buffer.name, i)
                last[access.buffer.name], sizes[access.buffer.name] = i, access.buffer.size
    changes = np.zeros(len(items) + 1, np.int64)
    for name, size in sizes.items():
        changes[first[name]] += size
        changes[last[name] + 1] -= size
    return np.cumsum(changes)


def _first_with_room(live: NDArray[np.int64], start: int, index: int, room: int) -> int:
    """The first place from ``start`` on from which at most ``room`` bytes are live up to
    ``index``."""
    full = np.flatnonzero(live[start:index] > room)
    return start + int(full[-1]) + 1 if full.size else min(start, index)


def _target(item: Item) -> Buffer:
    """Where a load brings what it brings."""
    assert isinstance(item, VirtualOp)
    return item.writes[0].buffer


def _fences(items: list[Item], bodies: Sequence[int]) -> dict[int, int]:
    """Of each body the index behind its first fence, before which others begin; its own if it has
    none."""
    found = {}
    for start, end in zip(bodies, [*bodies[1:], len(items)], strict=True):
        fence = (i for i in range(start, end) if getattr(items[i], "mnemonic", "") == "lnop")
        found[start] = next(fence, start - 1) + 1
    return found


def _loops(items: list[Item]) -> list[tuple[int, int]]:
    """(first, last) index of each loop, from its label to the branch back; outer ones first."""
    labels: dict[str, int] = {}
    found = []
    for i, item in enumerate(items):
        if isinstance(item, Label):
            labels[item.name] = i
        elif isinstance(target := item.fields.get("y"), Label) and target.name in labels:
            found.append((labels[target.name], i))
    return sorted(found, key=lambda loop: (loop[0], -loop[1]))


def _first_uses(items: list[Item], loads: list[int]) -> dict[int, int]:
    pending: dict[str, int] = {}
    for index in loads:
        pending[_target(items[index]).name] = index
    uses = {}
    for i, item in enumerate(items):
        if isinstance(item, VirtualOp) and not item.prefetch:
            for access in (*item.reads, *item.writes):
                if access.buffer.name in pending:
                    uses[pending.pop(access.buffer.name)] = i
    return {index: uses.get(index, len(items)) for index in loads}
