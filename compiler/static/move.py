"""Movement: a new array whose numbers are those of others, in any order that is known or computed.

DMA reads and writes rows of any length that begin at any byte, but steps from atom to atom. So
numbers that are to be picked one by one are spread first, one unit (of as many numbers as always
stay together) to an atom or more; `gather` then brings them in any order.
"""

from collections.abc import Sequence

import numpy as np

from compiler.static.arithmetic import to_words
from compiler.static.machine import ATOM, MOST_ROWS, Array, Block, Machine
from compiler.virtual import Buffer
from isa.config import HBM_ATOM_BYTES

FEW_RUNS = 24  # are copied one by one


def move(v: Machine, roots: Sequence[Array], index: np.ndarray, name: str) -> Array:
    """The array of the numbers ``index`` of all ``roots`` behind each other, counted from 1; 0 is
    the number 0."""
    flat = index.reshape(-1)
    first, lengths = _runs(roots, flat)
    if len(roots) == 1 and len(first) == 1 and first[0] == 1 and len(flat) == roots[0].size:
        return roots[0]
    if (flat == 0).any():
        roots, flat, first = _with_zeros(v, roots, flat, first)
    out = v.reserve(name, flat.size)
    bases = np.cumsum([0, *(root.size for root in roots)])
    if len(first) <= FEW_RUNS:
        _copy_runs(v, roots, bases, first - 1, lengths, out)
        return out
    starts = np.cumsum(lengths) - lengths
    owner = np.searchsorted(bases, first - 1, side="right") - 1
    unit = int(np.gcd.reduce([*starts, *(first - 1 - bases[owner]), flat.size]))
    unit = divisor(unit, v.chunk)
    picked = flat[::unit] - 1
    owner = np.searchsorted(bases, picked, side="right") - 1
    places = np.zeros(len(picked), np.int64)  # of units, in atoms
    for number, root in enumerate(roots):
        mine = owner == number
        if mine.any():
            base, pitch = spread(v, root, unit)
            places[mine] = base + (picked[mine] - bases[number]) // unit * pitch
    _gather_known(v, places, unit, out)
    return out


def _runs(roots: Sequence[Array], flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First numbers and lengths of what lies together in one root; zeros are runs of one."""
    breaks = (np.diff(flat) != 1) | (flat[:-1] == 0)
    for end in np.cumsum([root.size for root in roots])[:-1]:
        breaks |= flat[:-1] == end
    starts = np.flatnonzero(np.concatenate([[True], breaks]))
    return flat[starts], np.diff([*starts, flat.size])


def _with_zeros(
    v: Machine, roots: Sequence[Array], flat: np.ndarray, first: np.ndarray
) -> tuple[tuple[Array, ...], np.ndarray, np.ndarray]:
    zeros = v.place("zero", np.zeros(ATOM, np.float32))
    number = sum(root.size for root in roots) + 1
    flat, first = (np.where(x == 0, number, x) for x in (flat, first))
    return (*roots, zeros), flat, first


def _copy_runs(
    v: Machine,
    roots: Sequence[Array],
    bases: np.ndarray,
    first: np.ndarray,
    lengths: np.ndarray,
    out: Array,
) -> None:
    place = 0
    for begin, length in zip(first.tolist(), lengths.tolist(), strict=True):
        number = int(np.searchsorted(bases, begin, side="right")) - 1
        for done in range(0, length, v.chunk):
            count = min(v.chunk, length - done)
            block = v.load(roots[number], begin - int(bases[number]) + done, 1, count, count)
            v.store(block, out, place + done, count)
        place += length


def divisor(unit: int, most: int) -> int:
    """The largest divisor of unit that is at most ``most``."""
    if unit <= most:
        return unit
    return max(d for d in range(1, most + 1) if unit % d == 0)


def spread(v: Machine, source: Array, unit: int) -> tuple[int, int]:
    """The units of an array, each beginning at an atom: the first atom, and their distance."""
    pitch = -(-unit // ATOM)
    base = source.address // HBM_ATOM_BYTES
    if unit % ATOM == 0:
        return base, pitch
    count = source.size // unit
    wide = v.reserve(f"{source.buffer.name}, spread", count * pitch * ATOM)
    for start, rows in _portions(v, count, unit):
        block = v.load(source, start * unit, rows, unit, unit)
        v.store(block, wide, start * pitch * ATOM, pitch * ATOM)
    return wide.address // HBM_ATOM_BYTES, pitch


def _portions(v: Machine, count: int, unit: int) -> list[tuple[int, int]]:
    """(first, number) of units, as many as SRAM takes at a time."""
    stride = v.block_stride(unit)
    most = max(1, min(MOST_ROWS, v.config.sram_bytes // 8 // stride))
    return [(start, min(most, count - start)) for start in range(0, count, most)]


def _gather_known(v: Machine, places: np.ndarray, unit: int, out: Array) -> None:
    """Units at these atoms of HBM, behind each other."""
    if not places.size:
        return
    line = ATOM * max(1, v.config.line_bytes // HBM_ATOM_BYTES)
    portions = _portions(v, len(places), unit)
    lists = [np.pad(places[a : a + n], (0, -n % line)).astype(np.uint32) for a, n in portions]
    stored = v.place("row numbers", np.concatenate(lists))
    done = 0
    for (start, rows), numbers in zip(portions, lists, strict=True):
        words = v.load(stored, done, 1, rows, rows)
        block = _gather(v, words, 0, 1, rows, unit)
        v.store(block, out, start * unit, unit)
        done += numbers.size


def _gather(v: Machine, words: Block, base: int, pitch: int, rows: int, unit: int) -> Block:
    """Units at the atoms base + word · pitch."""
    block = v.block(rows, unit)
    memory = Buffer("memory", "hbm", v.config.capacity_bytes, 0)
    v.emit(
        "gather",
        (memory.access(), words.buffer.access()),
        (block.buffer.access(),),
        fields={
            "hbm": base,
            "hstride": pitch,
            "sram": block.buffer.at(),
            "sstride": block.stride,
            "rows": rows,
            "bytes": 4 * unit,
            "offset": 0,
            "hplane": words.buffer.at(),
        },
    )
    return block


def lookup(v: Machine, table: Array, numbers: Array, unit: int, name: str) -> Array:
    """Units of the table, by numbers that the program computes: integers below 2^23."""
    out = v.reserve(name, numbers.size * unit)
    base, pitch = spread(v, table, unit)
    for start, rows in _portions(v, numbers.size, unit):
        for first in range(start, start + rows, v.chunk):
            count = min(v.chunk, start + rows - first)
            words = to_words(v, v.load(numbers, first, 1, count, count))
            block = _gather(v, words, base, pitch, count, unit)
            v.store(block, out, first * unit, unit)
    return out
