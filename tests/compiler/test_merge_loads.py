"""Loads that continue each other become one, and nothing else does."""

import numpy as np
import pytest

from compiler.merge_loads import merge_loads
from compiler.virtual import Buffer, Item, Label, VirtualOp
from isa.config import HBM_ATOM_BYTES, load_config

TINY = load_config("tiny")
LONGEST = TINY.sram_bytes // 16


def load(name: str, address: int, size: int, prefetch: bool = True) -> VirtualOp:
    source, target = Buffer(name, "hbm", size, address), Buffer(f"{name} here", "sram", size)
    fields = {"hbm": source.at(0, HBM_ATOM_BYTES), "sram": target.at(), "rows": 1, "bytes": size}
    return VirtualOp("load", fields, (source.access(),), (target.access(),), name, prefetch)


def use(of: VirtualOp, offset: int = 0) -> VirtualOp:
    (target,) = of.writes
    return VirtualOp("vmov", {"a": target.buffer.at(offset)}, (target.buffer.access(),))


def sizes(items: list[Item]) -> list[object]:
    return [i.fields["bytes"] for i in items if isinstance(i, VirtualOp) and i.mnemonic == "load"]


def test_what_is_merged_lies_in_sram_as_in_memory():
    first, second = load("w0", 4096, 512), load("w1", 4096 + 512, 1024)
    items, bodies = merge_loads([first, use(first, 64), second, use(second, 96)], [0], TINY)
    whole, near, far = items
    assert (sizes(items), bodies) == ([1536], [0])
    assert whole.fields["hbm"] == first.fields["hbm"]
    assert whole.source == "weights of w0 to w1"
    (target,) = whole.writes
    places = [(op.fields["a"].buffer, op.fields["a"].offset) for op in (near, far)]
    assert places == [(target.buffer, 64), (target.buffer, 512 + 96)]
    spans = [(access.start, access.end) for op in (near, far) for access in op.reads]
    assert spans == [(0, 512), (512, 1536)]
    assert [access.buffer for access in whole.reads] == [
        op.reads[0].buffer for op in (first, second)
    ]


GAP = [load("w0", 0, 512), load("w1", 1024, 512)]
BACK = [load("w0", 512, 512), load("w1", 0, 512)]
BETWEEN = [load("w0", 0, 512), load("kv", 8192, 64), load("w1", 512, 512)]
LOOP = [load("w0", 0, 512), Label("again"), load("w1", 512, 512)]
LATER = [load("w0", 0, 512), load("w1", 512, 512, prefetch=False)]
LONG = [load("w0", 0, LONGEST // 2), load("w1", LONGEST // 2, LONGEST // 2 + 64)]


@pytest.mark.parametrize(
    "items",
    [GAP, BACK, BETWEEN, LOOP, LATER, LONG],
    ids=["gap", "back", "between", "loop", "later", "long"],
)
def test_what_stays_apart(items):
    assert merge_loads(items, [0], TINY) == (items, [0])


def test_the_first_loads_of_a_pass_stay_short():
    size = LONGEST // 8
    items: list[Item] = [load(f"w{i}", i * size, size) for i in range(16)]
    merged, bodies = merge_loads(items, [0, 14], TINY)
    assert sizes(merged) == [n * size for n in (1, 2, 4, 7, 1, 1)]
    assert bodies == [0, 4]
    assert sum(np.array(sizes(merged))) == 16 * size
