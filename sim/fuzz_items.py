"""Simpler forms of one item of a random program: smaller sizes, plain choices, no registers."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

from isa.config import ChipConfig
from isa.legal import fault_of
from isa.table import Choice, Engine
from isa.traps import Cause
from sim.footprint import Access, footprint
from sim.fuzz_operands import HBM_ATOMS
from sim.fuzz_program import Item
from sim.scalar import Command

Simpler = Callable[[Item], Item | None]  # None: it does not apply (any more)


def simpler_items(item: Item, config: ChipConfig) -> Iterator[Simpler]:
    """All that may be tried with ``item``. What has a fault stays as it is, but for its frame: with
    another operand it could become legal outside its place."""
    yield _without_skips
    if item.flips or item.waits or item.signals or not is_legal(item, config):
        return
    yield _without_moving
    for name in item.via:
        yield partial(_direct, name=name)
    for name in item.op.spec.uses:
        described = item.op.spec.format.slots[name].field
        if isinstance(described, Choice):
            yield partial(_set, name=name, value=described.values[0], config=config)
        elif isinstance(item.op.get(name), int) and item.op.mnemonic not in ("ld", "st"):
            for smaller in (_lowest, _half, _one_less):
                yield partial(_reduce, name=name, smaller=smaller, config=config)


def _without_skips(item: Item) -> Item | None:
    return replace(item, skips=()) if item.skips else None


def _without_moving(item: Item) -> Item | None:
    return replace(item, moving=None) if item.moving else None


def is_legal(item: Item, config: ChipConfig) -> bool:
    """Whether operands and registers have no fault."""
    held = {name: item.op.get(name) for name in item.via}
    return item.via == held and cause_of(item, config) == Cause.NONE


def cause_of(item: Item, config: ChipConfig) -> Cause:
    """What is wrong with the operands by `isa.legal`, if anything is."""
    if item.engine == Engine.SEQUENCER and item.op.mnemonic not in ("ld", "st"):
        return Cause.NONE
    found = fault_of(config, item.op.mnemonic, _command(item).fields, HBM_ATOMS)
    return found[0].cause if found else Cause.NONE


def _command(item: Item) -> Command:
    """The item as the engines see it; of ld and st the operands x and y."""
    op, names = item.op, list(item.op.spec.format.slots)
    if item.engine == Engine.SEQUENCER:
        names = ["x", "y"]
    fields = tuple(op.get(name) if name in op.spec.uses else 0 for name in names)
    return Command(0, op.mnemonic, item.engine, fields, (), (), op)


def _direct(item: Item, name: str) -> Item | None:
    if name not in item.via:
        return None
    return replace(item, via={key: value for key, value in item.via.items() if key != name})


def _lowest(item: Item, name: str) -> int:
    return item.places[name].start if name in item.places else 0


def _half(item: Item, name: str) -> int:
    low, value = _lowest(item, name), item.number_of(name)
    step = item.places[name].step if name in item.places else 1
    return low + (value - low) // 2 // step * step


def _one_less(item: Item, name: str) -> int:
    step = item.places[name].step if name in item.places else 1
    return max(_lowest(item, name), item.number_of(name) - step)


def _reduce(
    item: Item, name: str, smaller: Callable[[Item, str], int], config: ChipConfig
) -> Item | None:
    return _set(item, name, smaller(item, name), config)


def _set(item: Item, name: str, value: int | str, config: ChipConfig) -> Item | None:
    """With another value of a field, if that is legal, no longer reaches as far as before in any
    memory, and keeps a result in place over its source."""
    if value == item.op.get(name):
        return None
    op = replace(item.op, fields={**item.op.fields, name: value})
    via = {**item.via, name: value} if name in item.via and isinstance(value, int) else item.via
    moving = None if item.moving and item.moving[0] == name else item.moving
    changed = replace(item, op=op, via=via, moving=moving)
    in_place = "dst" in op.spec.uses and "dst" not in item.places
    if in_place and name in ("dst", "a", "dstride", "astride", "dt", "at"):
        return None
    if not is_legal(changed, config):
        return None
    moved = name in item.places or item.engine == Engine.SEQUENCER
    return changed if moved or _inside(changed, item, config) else None


def _inside(item: Item, other: Item, config: ChipConfig) -> bool:
    """Whether an item's accesses lie within those of another one, kind by kind."""
    bounds = _bounds(footprint(config, _command(other)))
    return all(
        kind in bounds and bounds[kind].start <= found.start and found.stop <= bounds[kind].stop
        for kind, found in _bounds(footprint(config, _command(item))).items()
    )


def _bounds(accesses: list[Access]) -> dict[tuple[str, bool], range]:
    found: dict[tuple[str, bool], range] = {}
    for access in accesses:
        kind = access.space, access.write
        known = found.get(kind, range(access.base, access.end))
        found[kind] = range(min(known.start, access.base), max(known.stop, access.end))
    return found
