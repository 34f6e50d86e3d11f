"""merge_loads: weights that lie behind each other in memory come in one transfer.

A load waits for the memory's latency before its first beat, and takes one of the few places in the
load engine's queue: many short ones leave the memory idle. What is merged lies in SRAM as it does
in HBM. The first loads of a pass, for which everything waits, stay short.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from compiler.virtual import LONGEST_ROW, Access, Address, Buffer, Item, Label, VirtualOp
from isa.config import ChipConfig

_SRAM_PART = 16  # of the SRAM that a merged load may take
_FIRST_PART = 8  # of that for the first one of a pass; each next one may be twice as long

Places = dict[str, tuple[Buffer, int]]  # of buffers by name: what they are part of, from which byte


def merge_loads(
    items: list[Item], bodies: Sequence[int], config: ChipConfig
) -> tuple[list[Item], list[int]]:
    """The program with merged loads; where its loops begin, as in `hoist_loads`, is in ``bodies``.

    Loads stay in order: another load between two of them, or a label, parts them.
    """
    places: Places = {}
    merged: dict[int, VirtualOp] = {}
    gone: list[int] = []
    for group in _groups(items, bodies, config):
        merged[group[0]] = _merge([_load(items[index]) for index in group], places)
        gone += group[1:]
    left = set(range(len(items))).difference(gone)
    result = [_renamed(merged.get(i, item), places) for i, item in enumerate(items) if i in left]
    return result, [body - bisect_left(gone, body) for body in bodies]


def shared_loads(items: Sequence[Item]) -> dict[str, dict[str, int]]:
    """Of loads for several nodes, by what they are called: bytes of each node."""
    found: dict[str, Counter[str]] = {}
    for item in items:
        if isinstance(item, VirtualOp) and len(item.parts) > 1:
            found.setdefault(item.source, Counter()).update(item.parts)
    return {name: dict(parts) for name, parts in found.items()}


def _groups(items: list[Item], bodies: Sequence[int], config: ChipConfig) -> Iterator[list[int]]:
    """Indices of loads that become one."""
    longest = min(config.sram_bytes // _SRAM_PART, LONGEST_ROW + 1 - config.line_bytes)
    starts, limit, group = set(bodies), longest, list[int]()
    for index, item in enumerate(items):
        borders = isinstance(item, Label) or index in starts
        loads = isinstance(item, VirtualOp) and item.mnemonic in ("load", "gather")
        if group and (borders or (loads and not _joins(items, group, index, limit))):
            if len(group) > 1:
                yield group
            size = sum(_size(_load(items[i])) for i in group)
            group, limit = [], min(longest, limit * (1 + (2 * size > limit)))
        if index in starts:
            limit = longest // _FIRST_PART
        if loads and _is_whole(_load(item)):
            group.append(index)
    if len(group) > 1:
        yield group


def _load(item: Item) -> VirtualOp:
    assert isinstance(item, VirtualOp)
    return item


def _is_whole(op: VirtualOp) -> bool:
    """Whether it brings a whole buffer, which was there before the launch."""
    place, target = op.fields["hbm"], op.fields["sram"]
    at_begin = isinstance(place, Address) and place.offset == 0 and isinstance(target, Address)
    return op.prefetch and not op.setup and at_begin and isinstance(op.fields["bytes"], int)


def _joins(items: list[Item], group: list[int], index: int, limit: int) -> bool:
    """Whether a load continues the last one of a group, and there is room for it."""
    first, last, op = (_load(items[i]) for i in (group[0], group[-1], index))
    if not _is_whole(op):
        return False
    behind = _source(op).address == _begin(last) + _size(last)
    alike = _source(op).layered == _source(last).layered
    return behind and alike and _begin(op) + _size(op) - _begin(first) <= limit


def _source(op: VirtualOp) -> Buffer:
    place = op.fields["hbm"]
    assert isinstance(place, Address)
    return place.buffer


def _begin(op: VirtualOp) -> int:
    address = _source(op).address
    assert address is not None
    return address


def _size(op: VirtualOp) -> int:
    size = op.fields["bytes"]
    assert isinstance(size, int)
    return size


def _merge(ops: Sequence[VirtualOp], places: Places) -> VirtualOp:
    """One load for all; notes where their targets have gone."""
    first, last = ops[0], ops[-1]
    size = _begin(last) + _size(last) - _begin(first)
    whole = Buffer(f"{first.writes[0].buffer.name} …", "sram", size)
    for op in ops:
        places[op.writes[0].buffer.name] = whole, _begin(op) - _begin(first)
    parts = Counter[str]()
    for op in ops:
        parts[op.source] += _size(op)
    nodes = list(parts)
    source = nodes[0] if len(nodes) == 1 else f"weights of {nodes[0]} to {nodes[-1]}"
    reads = tuple(access for op in ops for access in op.reads)
    fields = first.fields | {"sram": whole.at(), "bytes": size}
    return replace(
        first, fields=fields, reads=reads, writes=(whole.access(),), source=source, parts=parts
    )


def _renamed(item: Item, places: Places) -> Item:
    """With addresses and accesses in the merged buffers."""
    if isinstance(item, Label):
        return item

    def access(old: Access) -> Access:
        if old.buffer.name not in places:
            return old
        whole, offset = places[old.buffer.name]
        return Access(whole, old.start + offset, old.end + offset)

    fields = dict(item.fields)
    for name, value in fields.items():
        if isinstance(value, Address) and value.buffer.name in places:
            whole, offset = places[value.buffer.name]
            fields[name] = Address(whole, value.offset + offset, value.unit)
    reads, writes = (tuple(map(access, old)) for old in (item.reads, item.writes))
    return replace(item, fields=fields, reads=reads, writes=writes)
