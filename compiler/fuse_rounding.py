"""fuse_rounding: a result that is only wanted in bf16 is written in bf16.

The lowering gives each operator's output an fp32 room, and makes a copy in bf16 for the array.
Where nothing else reads that output, what makes it can write the copy: the vector unit rounds on
its way out, to the same bits. That saves an instruction for which the array waits.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

from compiler import builder as b
from compiler.virtual import Address, Buffer, Item, Label, VirtualOp, accesses
from isa.config import BF16_BYTES, F32_BYTES, ChipConfig
from isa.table import Engine

_NOT_BY_ELEMENT = ("vsum", "vrmax", "vargmax")
_Touches = dict[str, list[int]]  # of rooms in SRAM by name: which instructions read or write them


def fuse_rounding(
    items: list[Item], bodies: Sequence[int], config: ChipConfig
) -> tuple[list[Item], list[int]]:
    """The program without those copies; the indices ``bodies`` in it.

    A room's whole life must be in one piece of straight code: a loop could bring a reader back.
    """
    touches: _Touches = {}
    pieces, piece = list[int](), 0
    for index, item in enumerate(items):
        piece += isinstance(item, Label)
        pieces.append(piece)
        for name in {access.buffer.name for access in accesses(item)}:
            touches.setdefault(name, []).append(index)
    result, gone = list(items), list[int]()
    for index, copy in enumerate(items):
        makers = _makers(result, touches, index, config)
        if makers and pieces[touches[_room(copy, "a").name][0]] == pieces[index]:
            for maker in makers:
                result[maker] = _rounded(_op(result[maker]), _op(copy))
            gone.append(index)
    kept = [item for index, item in enumerate(result) if index not in set(gone)]
    return kept, [body - bisect_left(gone, body) for body in bodies]


def _makers(items: list[Item], touches: _Touches, index: int, config: ChipConfig) -> list[int]:
    """Instructions that make all that the copy ``index`` reads, if nothing else wants it."""
    copy = items[index]
    if not _copies(copy):
        return []
    source, target = _room(copy, "a").name, _room(copy, "dst").name
    before = touches[source]
    if before[-1] != index or touches[target][0] != index or source == target:
        return []
    if _touches_by_reading(items[before[0]], source):
        return []
    found, left = list[int](), _op(copy).fields["cols"]
    assert isinstance(left, int)
    for maker in reversed(before[:-1]):
        cols = _columns(items[maker], _op(copy), config)
        if not cols or any(_overlap(cols, _columns(items[i], _op(copy), config)) for i in found):
            return []
        found.append(maker)
        left -= len(cols)
        if left == 0:
            break
        if _touches_by_reading(items[maker], source):
            return []
    return found if left == 0 else []


def _copies(item: Item) -> bool:
    """Whether it is a copy in bf16 of fp32 rows, one a token."""
    if not isinstance(item, VirtualOp) or item.mnemonic != "vmov":
        return False
    fields = item.fields
    kinds = fields.get("at", "f32"), fields.get("dt", "f32")
    known = all(isinstance(fields[name], Address) for name in ("dst", "a"))
    return kinds == ("f32", "bf16") and known and fields["rows"] in (b.M, 1)


def _columns(item: Item, copy: VirtualOp, config: ChipConfig) -> range:
    """Columns of the copied rows that an instruction makes; none if it may not round them."""
    op, read = _op(item), copy.fields["a"]
    place = op.fields.get("dst")
    if op.engine != Engine.VECTOR or op.mnemonic in _NOT_BY_ELEMENT:
        return range(0)
    if not isinstance(place, Address) or op.fields.get("dt", "f32") != "f32":
        return range(0)
    assert isinstance(read, Address)
    same = place.buffer == read.buffer and op.fields["rows"] == copy.fields["rows"]
    if not same or op.fields.get("dstride", 0) != copy.fields.get("astride", 0):
        return range(0)
    first, most, count = (place.offset - read.offset) // F32_BYTES, *_counts(copy, op)
    inside = first >= 0 and first + count <= most and first % config.lanes == 0
    return range(first, first + count) if inside else range(0)


def _counts(*ops: VirtualOp) -> list[int]:
    return [cols if isinstance(cols := op.fields["cols"], int) else 0 for op in ops]


def _overlap(a: range, other: range) -> bool:
    return a.start < other.stop and other.start < a.stop


def _rounded(op: VirtualOp, copy: VirtualOp) -> VirtualOp:
    """It writes where the copy would."""
    place, read, target = op.fields["dst"], copy.fields["a"], copy.fields["dst"]
    assert isinstance(place, Address)
    assert isinstance(read, Address)
    assert isinstance(target, Address)
    offset = (place.offset - read.offset) // F32_BYTES * BF16_BYTES
    dst = replace(target, offset=target.offset + offset)
    fields = op.fields | {"dst": dst, "dstride": copy.fields.get("dstride", 0), "dt": "bf16"}
    return replace(op, fields=fields, writes=copy.writes)


def _room(item: Item, field: str) -> Buffer:
    place = _op(item).fields[field]
    assert isinstance(place, Address)
    return place.buffer


def _op(item: Item) -> VirtualOp:
    assert isinstance(item, VirtualOp)
    return item


def _touches_by_reading(item: Item, name: str) -> bool:
    return any(access.buffer.name == name for access in _op(item).reads)
