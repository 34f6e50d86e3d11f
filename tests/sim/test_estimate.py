"""Long runs that are simulated in part, against the same runs simulated as a whole."""

from dataclasses import replace

import numpy as np
import pytest

from compiler.canonical import canonicalise
from compiler.importer import load_model
from compiler.pipeline import compile_graph
from compiler.storage import Storage
from isa.config import load_config
from isa.image import ProgramImage
from isa.program import Op
from sim.cycle import estimate as estimates
from sim.cycle.estimate import estimate, is_long
from sim.cycle.follow import follow
from sim.cycle.measure import time_trace, trace_to_time
from sim.cycle.model import CycleResult, run_trace
from sim.cycle.plan import make_plan
from sim.cycle.profile import profile, situation_of
from tests.compiler.models import model_path

TINY = load_config("tiny")


def stream(panels: int) -> ProgramImage:
    """Loads of weights into one of three buffers, each with its product and what becomes of it."""
    ops = []
    for number in range(panels):
        place, free = 1 << 12 | number % 3 << 14, ((1, 1),) if number > 2 else ()
        fields = {"rows": 1, "bytes": 8192, "sram": place, "hbm": 1024 + 128 * number}
        ops.append(Op("load", fields, waits=free, signals=(0,)))
        array = {"acc": number % 2 * 8, "astride": 32, "w": place, "wstride": 16}
        sizes = {"m": 3, "k": 504 + 8 * (number % 2), "n": 8}
        ops.append(Op("matmul", {**array, **sizes}, waits=((0, 1),), signals=(1, 2)))
        moved = {"dst": 1 << 17 | number % 64 << 8, "dstride": 32, "a": number % 2 * 8}
        kinds = {"rows": 3, "cols": 8, "at": "acc"}
        ops.append(Op("vmov", {**moved, **kinds}, waits=((2, 1),)))
    return ProgramImage.from_ops(TINY, [*ops, Op("halt")], hbm_bytes=1 << 25)


@pytest.fixture(scope="module")
def stories() -> ProgramImage:
    """Layers that are one loop."""
    graph = canonicalise(load_model(model_path("stories260k/optimum_op18")), 64, "stories260k")
    return compile_graph(graph, TINY, storage=Storage(loops="always"))


def test_a_stream_is_estimated_within_the_bound():
    image = stream(3000)
    trace = follow(image, image.memory())
    exact, found = run_trace(trace, TINY), estimate(trace, TINY)
    assert found.simulated < exact.cycles / 4
    assert abs(found.result.cycles - exact.cycles) <= found.bound
    assert abs(found.result.cycles - exact.cycles) <= exact.cycles / 100
    assert found.result.counters == pytest.approx(exact.counters, rel=0.02)
    for engine, classes in found.result.classes.items():
        assert sum(classes.values()) == found.result.cycles, engine
    assert found.owned.sum() == found.result.cycles


def test_a_folded_loop_is_estimated_like_the_whole_one(stories, monkeypatch):
    """Iterations that are not followed are those that are simulated least."""
    memory = situation_of(stories, 2, 30).hbm
    before = memory.copy()
    folded, whole = follow(stories, memory, fold=True), follow(stories, memory)
    np.testing.assert_array_equal(memory, before)
    ((first, last, more),) = folded.repeats
    assert folded.times.sum() == len(whole.order) == len(folded.order) + more * (last - first)
    monkeypatch.setattr(estimates, "_INTERVALS", 0)  # the whole one has more samples to take
    one, other = estimate(folded, TINY), estimate(whole, TINY)
    assert one.result == other.result
    assert one.owned.sum(axis=0).sum() == other.owned.sum(axis=0).sum() == one.result.cycles
    exact = run_trace(whole, TINY)
    assert abs(one.result.cycles - exact.cycles) <= one.bound
    assert one.result.counters["matrix_instructions"] == exact.counters["matrix_instructions"]
    with pytest.raises(ValueError, match=r"^a trace with folded loops can only be estimated$"):
        run_trace(folded, TINY)


def test_a_plan_leaves_the_semaphores_as_they_were():
    """What is left out neither raises nor lowers any, and it is most of a long run."""
    trace = follow(image := stream(200), image.memory())
    plan = make_plan(trace)
    assert len(plan.kept) < len(trace.order) / 3
    assert run_trace(plan.trace, TINY, 1 << 20).cycles > 0  # it ends
    kinds = set(plan.likes.tolist())
    assert set(plan.likes[plan.kept[plan.fresh]].tolist()) == kinds


def test_short_runs_are_exact(stories, monkeypatch):
    memory = situation_of(stories, 1, 9).hbm
    trace = trace_to_time(stories, memory)
    assert not trace.repeats
    assert not is_long(trace, TINY)
    assert time_trace(trace, TINY) == run_trace(trace, TINY)
    monkeypatch.setattr(estimates, "LONG_CYCLES", 1000)
    folded = trace_to_time(stories, memory)
    assert folded.repeats
    assert not isinstance(time_trace(folded, TINY), CycleResult)
    exact = trace_to_time(stories, memory, exact=True)
    assert time_trace(exact, TINY, exact=True) == run_trace(trace, TINY)


def test_a_profile_says_what_is_estimated(stories, monkeypatch):
    exact = profile(stories, 1, 9, "cycle")
    assert exact.estimate is None
    monkeypatch.setattr(estimates, "LONG_CYCLES", 1000)
    found = profile(stories, 1, 9, "cycle")
    assert found.record is None
    assert found.estimate is not None
    assert found.estimate["simulated"] < exact.cycles
    assert abs(found.cycles - exact.cycles) <= found.estimate["bound"]
    for shares in (found.nodes, found.layers):
        assert sum(share.cycles for share in shares) == found.cycles
    names = [[share.name for share in of.nodes] for of in (exact, found)]
    assert names[0] == names[1]
    counts = [[share.instructions for share in of.nodes] for of in (exact, found)]
    assert counts[0] == counts[1]
    assert replace(found, backend="cycle").classes["load"].keys() == exact.classes["load"].keys()
    assert profile(stories, 1, 9, "cycle", exact=True).cycles == exact.cycles
