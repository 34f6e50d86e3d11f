"""Lists of rows for `gather`, followed back to the loads that have brought them."""

import numpy as np
import pytest

from isa.config import HBM_ATOM_BYTES, load_config
from isa.image import ProgramImage
from isa.program import Op
from sim.cycle.follow import follow, trace_launch
from sim.cycle.lists import NeedsValues
from sim.cycle.measure import Situation, trace_of
from sim.cycle.trace import Trace
from tests.sim.test_cycle import same_trace
from tests.support import rng

TINY = load_config("tiny")


def test_a_list_that_is_computed_needs_values():
    place = {"sram": 0, "sstride": 32, "rows": 2, "bytes": 32, "hbm": 64, "hstride": 1}
    ops = [
        Op("vmov", {"dst": 4096, "dstride": 32, "a": 0, "astride": 32, "rows": 1, "cols": 8}),
        Op("sync"),
        Op("gather", {**place, "hplane": 4096}),
        Op("halt"),
    ]
    image = ProgramImage.from_ops(TINY, ops, hbm_bytes=1 << 16)
    with pytest.raises(NeedsValues, match=r"^instruction 0 computes a list of rows$"):
        follow(image, image.memory())
    assert same_trace(
        trace_launch(image, image.memory()), trace_of(Situation(image, image.memory()))
    )


def gathering(*before: Op) -> tuple[Trace, Trace]:
    """Of a list of eleven rows in two parts, the second over the first, in room that a vector
    instruction had before and has again: the trace without values, and that with them."""
    moved = Op("vmov", {"dst": 4096, "dstride": 32, "a": 0, "astride": 32, "rows": 1, "cols": 8})
    whole = Op("load", {"hbm": LIST, "sram": 4096, "rows": 1, "bytes": 44})
    part = Op("load", {"hbm": LIST + 1, "sram": 4128, "rows": 1, "bytes": 12})
    place = {"sram": 0, "sstride": 32, "rows": 11, "bytes": 32, "hbm": 512, "hstride": 1}
    steps = [*before, moved, whole, part, Op("gather", {**place, "hplane": 4096}), moved]
    ops = [op for step in steps for op in (step, Op("sync"))]
    image = ProgramImage.from_ops(TINY, [*ops, Op("halt")], hbm_bytes=1 << 16)
    memory = image.memory()
    lists = memory[LIST * HBM_ATOM_BYTES :][:512].view(np.uint32)
    lists[:] = rng(5).permutation(len(lists))
    return follow(image, memory.copy()), trace_of(Situation(image, memory))


LIST = 256  # in HBM, in atoms


def test_lists_are_known_where_their_room_had_other_tenants():
    ours, values = gathering()
    assert same_trace(ours, values)
    assert len(set(ours.numbers.tolist())) == 11


@pytest.mark.parametrize(("address", "load"), [(LIST, 4), (LIST + 1, 6)])
def test_a_list_that_was_stored_needs_values(address: int, load: int):
    store = Op("store", {"hbm": address, "sram": 0, "rows": 1, "bytes": 4})
    with pytest.raises(
        NeedsValues, match=rf"^instruction {load} \(load\) reads rows that were stored$"
    ):
        gathering(store)
