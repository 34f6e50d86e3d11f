"""hoist_loads: loads of what is there before the launch come early, where there is room for it."""

from collections.abc import Iterator, Sequence

from compiler.allocate import DoesNotFit, Life, Rooms, lifetimes, packings
from compiler.virtual import Item, Label, VirtualOp
from isa.config import ChipConfig


def hoist_loads(
    items: list[Item],
    bodies: Sequence[int],
    config: ChipConfig,
    loop: tuple[str, str] | None = None,
    early_bytes: int = 0,
) -> tuple[list[Item], dict[str, int]]:
    """Move each prefetchable load up to where the last one of those leaves whose room it takes, but
    before no more of the others' first uses than the engine's queue has places: where that is full,
    the sequencer waits, and the other engines with it. The program and SRAM addresses; raises
    DoesNotFit.

    Nothing leaves its loop, whose first index is one of ``bodies``, and nothing moves into a loop
    that it passes. The loads' order stays, so the load engine sees them in order of need while the
    sequencer runs ahead. Of those that go to the beginning of a body only the first ones of
    ``early_bytes`` in all pass a `gather` of the tokens' rows, the others come behind it: what it
    brings is wanted first. ``loop``: see `lifetimes`.
    """
    lives = lifetimes(items, loop)
    by_name = {life.buffer.name: life for life in lives}
    loads = {
        index: by_name[item.writes[0].buffer.name]
        for index, item in enumerate(items)
        if isinstance(item, VirtualOp) and item.prefetch
    }
    targets = set(map(id, loads.values()))
    others = [life for life in lives if id(life) not in targets]
    for packed in (others, lives):  # with all of them, the loads' own rooms are kept for them
        for _ in packings(packed, config.sram_bytes):
            rooms = Rooms(packed, config.sram_bytes)
            places = _places(items, bodies, loads, rooms, config.queue_depth, early_bytes)
            if places is not None:
                return _moved(items, places), {x.buffer.name: x.address for x in lives}
    raise DoesNotFit


def _places(
    items: list[Item],
    bodies: Sequence[int],
    loads: dict[int, Life],
    rooms: Rooms,
    depth: int,
    early_bytes: int,
) -> dict[int, int] | None:
    """Of each load the index before which it comes; None where one has no room."""
    inner, fences = _loops(items), _fences(items, bodies)
    early = dict.fromkeys(bodies, 0)  # bytes
    found, place = dict[int, int](), 0
    uses = _first_uses(items, loads)
    for order, (index, life) in enumerate(loads.items()):
        start = max(body for body in bodies if body <= index)
        ahead = uses[order - depth] if order >= depth else 0
        if (free := rooms.find(life, min(index, max(place, start, ahead)))) is None:
            return None
        place = free
        for begin, end in inner:
            # A label behind the branch back is where the loop is left from inside.
            last = end + isinstance(items[min(end + 1, index)], Label)
            if begin < place <= last < index:
                fence = min(fences[start], index) if end < fences[start] else 0
                place = fence or _behind_sync(items, end, index)
        early[start] += life.buffer.size
        if place < fences[start] and early[start] > early_bytes:
            place = min(fences[start], index)
        rooms.put(life, place)
        found[index] = place
    return found


def _first_uses(items: list[Item], loads: dict[int, Life]) -> list[int]:
    """Where each load's data is wanted first."""
    pending = {life.buffer.name: index for index, life in loads.items()}
    uses = dict[int, int]()
    for i, item in enumerate(items):
        if isinstance(item, VirtualOp) and not item.prefetch:
            for access in (*item.reads, *item.writes):
                if access.buffer.name in pending:
                    uses[pending.pop(access.buffer.name)] = i
    return [uses.get(index, len(items)) for index in loads]


def _moved(items: list[Item], places: dict[int, int]) -> list[Item]:
    """The program with each load, and what it needs before it, at its place."""
    at: dict[int, list[Item]] = {}
    for index, place in places.items():
        load = items[index]
        assert isinstance(load, VirtualOp)
        at.setdefault(place, []).extend([*load.setup, load])

    def result() -> Iterator[Item]:
        for index, item in enumerate(items):
            yield from at.get(index, [])
            if index not in places:
                yield from [*item.setup, item] if isinstance(item, VirtualOp) else [item]

    return list(result())


def _behind_sync(items: list[Item], end: int, index: int) -> int:
    """The first place behind a loop that ends at ``end`` at which all engines have been done, up to
    ``index``: what semaphores order does not know how often the loop is passed."""
    syncs = (i for i in range(end, index) if _is(items[i], "sync"))
    return next(syncs, index - 1) + 1


def _is(item: Item, mnemonic: str) -> bool:
    return isinstance(item, VirtualOp) and item.mnemonic == mnemonic


def _fences(items: list[Item], bodies: Sequence[int]) -> dict[int, int]:
    """Of each body the index behind its last `gather`; its own if it has none."""
    found = {}
    for start, end in zip(bodies, [*bodies[1:], len(items)], strict=True):
        gathers = (i for i in range(start, end) if _is(items[i], "gather"))
        found[start] = max(gathers, default=start - 1) + 1
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
