"""The cycle model against the RTL: the same cycles, classes, conflicts and commands to the HBM."""

import json
from itertools import islice

import numpy as np
import pytest
from typer.testing import CliRunner

from compiler.canonical import canonicalise
from compiler.importer import load_model
from compiler.pipeline import compile_graph
from isa.assembler import assemble_file
from isa.config import load_config
from isa.image import ProgramImage, save_image
from isa.program import Op
from rtl import timing
from sim.cli import app
from sim.cycle import model
from sim.cycle.build import build_model
from sim.cycle.follow import follow
from sim.cycle.gemm import Gemm
from sim.cycle.lists import NeedsValues
from sim.cycle.measure import Situation, on_rtl, trace_of
from sim.cycle.model import run_trace
from sim.cycle.products import product
from sim.cycle.record import Record
from sim.cycle.stored import Stored
from sim.cycle.suite import product_entries, random_entries
from sim.cycle.trace import Trace
from sim.errors import SimulationError
from sim.footprint import Access
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
    trace = trace_of(situation)
    records = Record.of_trace(trace), Record.of_trace(trace)
    expected = on_rtl(situation, records[0])
    found = run_trace(trace, situation.image.config, 2 * expected.cycles, records[1])
    for name in ("end", "classes", "owned"):
        assert np.array_equal(*(getattr(record, name) for record in records)), name
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


@pytest.fixture(scope="module")
def stories() -> ProgramImage:
    graph = canonicalise(load_model(model_path("stories260k/optimum_op18")), 64, "stories260k")
    return compile_graph(graph, TINY)


def test_a_model_takes_as_long(stories):
    """Prefill and decode, on the chip's HBM with its refreshes; no values are needed for that."""
    memory = stories.memory()
    host, dice = Host(stories, memory), rng(5)
    for count in (13, 1):
        host.prepare(dice.integers(0, host.vocabulary, count))
        situation = Situation(stories, memory.copy())
        compare(situation)
        assert same_trace(follow(stories, memory.copy()), trace_of(situation))
        host.finish(count)


def same_trace(one: Trace, other: Trace) -> bool:
    names = ("commands", "order", "jumps", "numbers")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def test_traces_without_values_are_those_with_values():
    """Or it is said that values are needed, and they are used."""
    refused = 0
    for seed in range(40):
        situation = random_situation("tiny", seed)
        expected = trace_of(situation)
        memory = situation.hbm.copy()
        try:
            assert same_trace(follow(situation.image, memory), expected)
        except NeedsValues:
            refused += 1
        np.testing.assert_array_equal(memory, situation.hbm)  # as it was, whatever `st` wrote
    assert refused == 4  # read what a store has written


def test_where_was_stored_is_known_to_the_byte():
    """However stores lie: apart, side by side, over each other, in rows and planes."""
    dice, met = rng(11), 0
    for _ in range(40):
        stored, covered = Stored(), np.zeros(700, bool)
        for _ in range(30):
            base, stride, rows, length = (int(dice.integers(*at)) for at in _STORES)
            access = Access("hbm", base, stride, rows, length, True)
            stored.add([access])
            covered[base : base + (rows - 1) * stride + length] = True  # gaps of rows, too
            for start in dice.integers(0, 690, 10).tolist():
                found = stored.meets(Access("hbm", start, 0, 1, 4, False))
                assert found == covered[start : start + 4].any()
                met += found
    assert 2000 < met < 10000


_STORES = ((0, 600), (0, 9), (1, 4), (1, 9))  # bases, strides, rows, lengths


def test_profiles_agree_and_add_up(stories, tmp_path):
    save_image(stories, tmp_path / "s.jx")
    found = {}
    for backend in ("cycle", "rtl"):
        options = ["--tokens", "2", "--past", "9", "--backend", backend, "--json"]
        result = CliRunner().invoke(app, ["profile", str(tmp_path / "s.jx"), *options])
        assert result.exit_code == 0, result.output
        found[backend] = json.loads(result.stdout)
        assert found[backend].pop("backend") == backend
    assert found["cycle"] == found["rtl"]
    for classes in found["cycle"]["classes"].values():
        assert sum(classes.values()) == found["cycle"]["cycles"]


def test_validate_prints_every_row(tmp_path):
    options = ["--config", "tiny", "--programs", "5", "--folder", str(ROOT / "programs"), "--json"]
    report = tmp_path / "accuracy.md"
    result = CliRunner().invoke(app, ["validate", *options, "--report", str(report)])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["mean_abs_error"], found["max_abs_error"]) == (0, 0)
    assert len(found["rows"]) > 10
    assert all(row["equal"] and row["rtl_cycles"] == row["model_cycles"] for row in found["rows"])
    assert report.read_text().count("\n| ") == len(found["rows"]) + 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tokens", "3,x", "--config", "tiny"], "--tokens must be numbers of at least 1"),
        (["--folder", "nowhere", "--config", "tiny"], "nowhere: no such folder"),
        (["--config", "huge"], "huge: no such configuration file"),
    ],
)
def test_validate_rejects(options, message):
    result = CliRunner().invoke(app, ["validate", *options])
    assert isinstance(result.exception, ValueError)
    assert message in str(result.exception)


@pytest.mark.parametrize("sizes", [(200, 4, 6), (400, 5, 3), (1, 16, 5)])
def test_products_take_as_long(sizes):
    """Long tiles, most of whose rows are leapt over, and tiles of one row."""
    image = product(TINY, *sizes)
    compare(Situation(image, image.memory()))


def test_products_that_do_not_fit_are_refused():
    with pytest.raises(
        ValueError, match=r"^tiny has no room for a product of 600 x 32 x 2 panels$"
    ):
        product(TINY, 600, 4, 2)


def test_a_long_stream_takes_as_long():
    compare(stream())


LEAPING = (
    "tiny",
    "tiny,hbm=hbm3e,hbm_refresh=bank,hbm_depth=16,queue_depth=2,lanes=4",
    "tiny,hbm=hbm4,element=fp8,rows=4,cols=16,line_bytes=128,axi_bytes=128,hbm_channels=4",
    "small,hbm_ecc=none",
)


@pytest.mark.parametrize("chip", LEAPING)
def test_cycles_that_are_passed_over_change_nothing(chip, monkeypatch):
    """Memory that is followed cycle by cycle, and only when asked: all counters are equal, whenever
    they are looked at."""
    config = load_config(chip)
    every = build_model(every_cycle=True)
    entries = [*islice(random_entries(config, 60), 0, None, 5), *product_entries(config)]
    entries += list(islice(random_entries(config, 60), 1, 60, 15))
    for entry in entries:
        trace = trace_of(entry.situation())
        found = [counted(trace)]
        with monkeypatch.context() as patch:
            patch.setattr(model, "build_model", lambda: every)
            found.append(counted(trace))
        assert np.array_equal(*found), entry.program


def counted(trace: Trace) -> np.ndarray:
    """All counters, in the end and when each instruction and all before it had retired."""
    marks = np.zeros((len(trace.order), model.COUNTED), np.int64)
    whole = model.count_trace(trace, trace.config)
    record = Record.of_trace(trace)
    marked = model.count_trace(trace, trace.config, record=record, marks=marks)
    assert np.array_equal(whole, marked)
    return np.concatenate([marks[:-1].ravel(), whole])


SAMPLE = [("tiny", 1003), ("tiny", 1007), ("fp8", 1000), ("int8", 1004)]


@pytest.fixture(scope="module")
def sample():
    """Traces that meet every number of the model, with the time that they take."""
    situations = [stream(), *(random_situation(chip, seed) for chip, seed in SAMPLE)]
    traces = [trace_of(situation) for situation in situations]
    many = "server,hbm_stacks=2,hbm_channels=32"  # refreshes wait behind what is under way
    gemms = (("small", (64, 64, 64)), ("server", (8, 256, 512)), (many, (8, 1024, 1024)))
    for chip, sizes in gemms:
        image = Gemm(load_config(chip), *sizes).image
        traces.append(follow(image, image.memory()))
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
