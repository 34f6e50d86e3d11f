"""The cycle model against the RTL: the same cycles, classes, conflicts and commands to the HBM."""

import pytest

from compiler.canonical import canonicalise
from compiler.importer import load_model
from compiler.pipeline import compile_graph
from isa.assembler import assemble_file
from isa.config import load_config
from isa.image import ProgramImage
from isa.program import Op
from rtl import timing
from sim.cycle.measure import Situation, on_model, on_rtl, trace_of
from sim.cycle.model import run_trace
from sim.errors import SimulationError
from sim.fuzz import CHIPS, make_program
from sim.host import Host
from tests.compiler.models import model_path
from tests.support import ROOT, rng

TINY = load_config("tiny")
PROGRAMS = sorted((ROOT / "programs").glob("*.s"))


def random_situation(chip: str, seed: int) -> Situation:
    return Situation.of_case(make_program(CHIPS[chip], seed, illegal=False)[1])


def stream() -> Situation:
    """Loads and stores that leave no time for refreshes until they cannot wait any longer."""
    rows = {"hstride": 64, "sstride": 4096, "bytes": 4096, "rows": 48}
    load = Op("load", {"hbm": 1024, **rows})
    store = Op("store", {"sram": 1 << 18, "hbm": 8192, **rows})
    block = {"dstride": 32, "astride": 32, "rows": 9, "cols": 8}
    special = Op("vexp2", {"dst": 0x7F000, "a": 0x7F000, **block})
    ops = [*[load, store] * 5, Op("sync"), special, Op("halt")]
    image = ProgramImage.from_ops(TINY, ops, hbm_bytes=1 << 20)
    return Situation(image, image.memory())


def compare(situation: Situation) -> None:
    """Everything that both count is equal."""
    expected, found = on_rtl(situation), on_model(situation)
    assert found.cycles == expected.cycles
    assert found.conflicts == expected.conflicts
    assert found.classes == expected.classes
    assert found.counters == expected.counters
    assert found.hbm == {name: expected.hbm[name] for name in found.hbm}


@pytest.mark.parametrize("chip", list(CHIPS))
def test_random_programs_take_as_long(chip):
    """With either memory, of several latencies and rates."""
    for seed in range(1000, 1008):
        compare(random_situation(chip, seed))


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_hand_written_programs_take_as_long(program):
    image = assemble_file(program)
    compare(Situation(image, image.memory()))


def test_a_model_takes_as_long():
    """Prefill and decode, on the chip's HBM with its refreshes."""
    graph = canonicalise(load_model(model_path("stories260k/optimum_op18")), 64, "stories260k")
    image = compile_graph(graph, TINY)
    memory = image.memory()
    host, dice = Host(image, memory), rng(5)
    for count in (13, 1):
        host.prepare(dice.integers(0, host.vocabulary, count))
        compare(Situation(image, memory.copy()))
        host.finish(count)


def test_a_long_stream_takes_as_long():
    compare(stream())


SAMPLE = [("tiny", 1003), ("tiny", 1007), ("fp8", 1000), ("int8", 1004)]


@pytest.fixture(scope="module")
def sample():
    """Traces that meet every number of the model, with the time that they take."""
    situations = [stream(), *(random_situation(chip, seed) for chip, seed in SAMPLE)]
    traces = [trace_of(situation) for situation in situations]
    return [(trace, run_trace(trace, trace.config).cycles) for trace in traces]


def differs(trace, cycles: int) -> bool:
    """Whether a run takes another time, or does not end."""
    try:
        return run_trace(trace, trace.config, 2 * cycles).cycles != cycles
    except SimulationError:
        return True


@pytest.mark.parametrize("name", [name for name in vars(timing) if name.isupper()])
def test_every_number_of_the_core_counts(name, sample, monkeypatch):
    """With another one the time is no longer that of the RTL."""
    monkeypatch.setattr(timing, name, max(1, getattr(timing, name) // 4))
    assert any(differs(trace, cycles) for trace, cycles in sample)
