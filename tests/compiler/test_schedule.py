"""Passes over virtual programs, on small programs written by hand and random ones."""

import itertools

import numpy as np
import pytest

from compiler.allocate import LAG, DoesNotFit, allocate
from compiler.errors import CompileError
from compiler.schedule import resolve, synchronise
from compiler.virtual import Buffer, Item, Label, VirtualOp
from isa.config import load_config
from isa.program import Reg
from tests.support import rng

TINY = load_config("tiny")
ENGINES = ("load", "store", "matmul", "vmov")


def sram(name: str, size: int = 64) -> Buffer:
    return Buffer(name, "sram", size)


def op(
    mnemonic: str, reads: tuple[Buffer, ...] = (), writes: tuple[Buffer, ...] = (), **rest
) -> VirtualOp:
    accesses = (tuple(b.access() for b in buffers) for buffers in (reads, writes))
    return VirtualOp(mnemonic, {}, *accesses, **rest)


def random_program(seed: int, length: int = 60) -> list[Item]:
    random = rng(seed)
    buffers = [sram(f"b{i}", int(random.integers(1, 9)) * 32) for i in range(12)]
    ops: list[Item] = []
    for _ in range(length):
        reads, writes = (
            tuple(buffers[i] for i in random.choice(12, size, False)) for size in (2, 1)
        )
        ops.append(op(str(random.choice(ENGINES)), reads, writes))
    return ops


def overlapping(a: VirtualOp, b: VirtualOp, addresses: dict[str, int]) -> bool:
    def spans(accesses):
        return [
            (addresses[x.buffer.name] + x.start, addresses[x.buffer.name] + x.end) for x in accesses
        ]

    pairs = [(a.writes, b.writes), (a.writes, b.reads), (a.reads, b.writes)]
    return any(
        s1 < e2 and s2 < e1
        for first, second in pairs
        for (s1, e1), (s2, e2) in itertools.product(spans(first), spans(second))
    )


def ordered_pairs(ops: list[VirtualOp]) -> np.ndarray:
    """reach[i, j]: engine order and semaphore tokens make i complete before j starts."""
    reach = np.zeros((len(ops), len(ops)), bool)
    tokens: dict[int, list[int]] = {}
    taken: dict[int, int] = {}
    last: dict[object, int] = {}
    for j, this in enumerate(ops):
        before = [last[this.engine]] if this.engine in last else []
        for semaphore in this.waits:
            before.append(tokens[semaphore][taken.setdefault(semaphore, 0)])
            taken[semaphore] += 1
        for i in before:
            reach[i, j] = True
            reach[:, j] |= reach[:, i]
        last[this.engine] = j
        for semaphore in this.signals:
            tokens.setdefault(semaphore, []).append(j)
    assert all(len(tokens[s]) == taken.get(s, 0) for s in tokens), "tokens are left over"
    return reach


@pytest.mark.parametrize("seed", range(8))
def test_every_hazard_between_engines_is_ordered(seed):
    ops = random_program(seed)
    addresses = allocate(ops, TINY)
    synchronise(ops, addresses)
    reach = ordered_pairs(ops)
    for i, j in itertools.combinations(range(len(ops)), 2):
        if overlapping(ops[i], ops[j], addresses):
            assert reach[i, j], (i, j)


def test_implied_tokens_are_left_out():
    a, b = sram("a"), sram("b")
    ops = [op("load", (), (a,)), op("vmov", (a,), (b,)), op("matmul", (a, b), ())]
    synchronise(ops, {"a": 0, "b": 64})
    assert [len(item.signals) for item in ops] == [1, 1, 0]
    assert [len(item.waits) for item in ops] == [0, 1, 1]


@pytest.mark.parametrize("seed", range(4))
def test_buffers_that_live_together_do_not_overlap(seed):
    ops = random_program(seed, 30)
    addresses = allocate(ops, TINY)
    life: dict[str, list[int]] = {}
    sizes = {}
    for i, item in enumerate(ops):
        for access in (*item.reads, *item.writes):
            life.setdefault(access.buffer.name, []).append(i)
            sizes[access.buffer.name] = access.buffer.size
    for a, b in itertools.combinations(life, 2):
        if max(life[a][0], life[b][0]) <= min(life[a][-1], life[b][-1]):
            apart = (
                addresses[a] + sizes[a] <= addresses[b] or addresses[b] + sizes[b] <= addresses[a]
            )
            assert apart, (a, b)


@pytest.mark.parametrize("room", [3, 2])
def test_what_is_stored_keeps_its_room_where_there_is_enough(room):
    """The store may still be reading when the vector unit writes its next result."""
    first, second = sram("first"), sram("second")
    ops: list[Item] = [
        op("vmov", (), (first,)),
        op("store", (first,), ()),
        op("vmov", (), (second,)),
    ]
    config = load_config("tiny").replace(sram_bytes=64 * 32)
    full = sram("full", config.sram_bytes - room * 64 + 64)
    ops = [op("vmov", (), (full,)), *ops, op("vmov", (full,), (second,))]
    addresses = allocate(ops, config)
    assert (addresses["first"] == addresses["second"]) == (room == 2)


@pytest.mark.parametrize(("behind", "room"), [(LAG - 1, 3), (LAG - 1, 2), (LAG, 3)])
def test_what_was_used_just_now_keeps_its_room_where_there_is_enough(behind, room):
    """Whatever engine reads it, the next one that writes there would wait for that."""
    first, second = sram("first"), sram("second")
    read: list[Item] = [op("vmov", (), (first,)), op("matmul", (first,), ())]
    between: list[Item] = [op("vnop") for _ in range(behind)]
    config = load_config("tiny").replace(sram_bytes=64 * 32)
    full = sram("full", config.sram_bytes - room * 64 + 64)
    begin: list[Item] = [op("vmov", (), (full,)), *read, *between]
    addresses = allocate([*begin, op("vmov", (full,), (second,))], config)
    assert (addresses["first"] == addresses["second"]) == (room == 2 or behind == LAG)


def test_what_is_stored_keeps_its_room_first():
    """There is enough for one of the two to keep its room, not for both."""
    stored, used, second, third = (sram(name) for name in ("stored", "used", "second", "third"))
    config = load_config("tiny").replace(sram_bytes=64 * 32)
    full = sram("full", config.sram_bytes - 3 * 64)
    items: list[Item] = [op("vmov", (), (room,)) for room in (full, stored, used)]
    items += [op("store", (stored,), ()), op("matmul", (used,), ())]
    items += [op("vmov", (), (second,)), op("vmov", (second, full), (third,))]
    addresses = allocate(items, config)
    assert addresses["stored"] not in (addresses["second"], addresses["third"])


def test_the_smallest_gap_that_is_large_enough():
    sizes = {"a": 256, "b": 64, "c": 128, "d": 64, "new": 96}
    at = {name: sram(name, size) for name, size in sizes.items()}
    born: list[Item] = [op("vmov", (), (at[name],)) for name in "abcd"]
    ends: list[Item] = [op("vmov", (at["a"], at["c"]), ()), *(op("vnop") for _ in range(LAG))]
    ops = [*born, *ends, op("vmov", (), (at["new"],)), op("vmov", (at["b"], at["d"]), (at["new"],))]
    addresses = allocate(ops, TINY)
    assert (addresses["a"], addresses["c"]) == (0, 320)
    assert addresses["new"] == addresses["c"]  # first fit takes that of a


def test_reject_what_does_not_fit():
    half = TINY.sram_bytes // 2 + 32
    ops = [op("vmov", (), (sram("a", half),)), op("vmov", (sram("a", half),), (sram("b", half),))]
    with pytest.raises(DoesNotFit):
        allocate(ops, TINY)


def test_resolve_addresses_and_labels():
    buffer = sram("x")
    move = VirtualOp("vmov", {"dst": buffer.at(32), "rows": Reg(3)}, source="node A")
    branch = VirtualOp("blt", {"rs": Reg(1), "x": 4, "y": Label("top")})
    ops, sources = resolve([op("sync"), Label("top"), move, branch], {"x": 4096})
    assert ops[1].fields == {"dst": 4128, "rows": Reg(3)}
    assert ops[2].fields["y"] == 1
    assert sources == ["", "node A", ""]


def test_reject_a_field_that_overflows():
    move = VirtualOp("vmov", {"cols": 1 << 20}, source="node A")
    with pytest.raises(CompileError, match=r"^node A: vmov: cols must fit 20 bits, not 1048576; "):
        resolve([move], {})
