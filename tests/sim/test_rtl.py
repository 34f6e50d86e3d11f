"""The verilated core: programs against the functional simulator, time, and misuse."""

import numpy as np
import pytest

from isa.counters import CYCLE_CLASSES
from isa.image import ProgramImage
from isa.program import Op, Reg
from isa.table import Engine
from sim.errors import SimulationError, Trap
from sim.functional import FunctionalCore
from sim.fuzz_maker import ProgramMaker, random_memory
from sim.rtl import RtlCore
from tests.sim.rtl_cores import DATA_ATOM, TINY, run_ops

# Nothing is square or as wide as its neighbour here.
ODD = TINY.replace(
    name="odd",
    rows=4,
    cols=8,
    lanes=4,
    line_bytes=64,
    axi_bytes=16,
    sram_bytes=1 << 16,
    sram_banks=2,
    acc_rows=128,
    queue_depth=2,
    memory_latency_cycles=7,
    memory_bytes_per_cycle=5,
    load_bursts=3,
)


@pytest.fixture(scope="module")
def tiny() -> RtlCore:
    return RtlCore(TINY)


def _check_agreement(core: RtlCore, functional: FunctionalCore, seed: int, phases: int) -> None:
    ops = ProgramMaker(core.config, seed).program(phases)
    memory = random_memory(ops, seed)
    expected = memory.copy()
    functional.load(ProgramImage.from_ops(core.config, ops), expected)
    counters = functional.run()
    result = core.run(memory, 0, len(ops), max_cycles=10**6)
    assert np.array_equal(memory, expected), "HBM differs"
    assert np.array_equal(core.sram, functional.sram), "SRAM differs"
    bits = core.acc.view(np.uint32), functional.acc.view(np.uint32)
    assert np.array_equal(*bits), "accumulators differ"
    assert result.counters == counters
    assert result.conflicts > 0
    for engine in Engine:
        classes = result.classes[engine.name.lower()]
        assert set(classes) == set(CYCLE_CLASSES)
        assert sum(classes.values()) == result.cycles
        assert classes["busy"] > 0


def test_random_programs_agree(tiny):
    """Programs one after another on one chip: what is left from one is read by the next."""
    functional = FunctionalCore(TINY)
    tiny.sram, tiny.acc = functional.sram, functional.acc
    for seed in range(12):
        _check_agreement(tiny, functional, seed, phases=10)


def test_an_odd_chip_agrees_and_is_traced(tmp_path):
    core, functional = RtlCore(ODD, trace=tmp_path / "odd.vcd"), FunctionalCore(ODD)
    for seed in range(2):
        _check_agreement(core, functional, seed, phases=4)
    core.close()
    with (tmp_path / "odd.vcd").open() as waves:
        assert any(line.startswith("$enddefinitions") for line in waves)
        assert any(line.startswith("#1000") for line in waves)


def test_sram_and_accumulators_are_written_and_read(tiny):
    dice = np.random.default_rng(3)
    sram = dice.integers(0, 256, TINY.sram_bytes, dtype=np.uint8)
    acc = dice.normal(size=(TINY.acc_rows, TINY.cols)).astype(np.float32)
    tiny.sram, tiny.acc = sram, acc
    run_ops(tiny, Op("halt"))
    assert np.array_equal(tiny.sram, sram)
    assert np.array_equal(tiny.acc, acc)


def test_every_run_starts_with_registers_and_semaphores_at_zero(tiny):
    ops = [
        Op("st", {"rs": Reg(5), "x": 512, "y": 4}),
        Op("add", {"rd": Reg(5), "rs": Reg(5), "x": 7}, signals=(3,)),
        Op("st", {"rs": Reg(5), "x": 512, "y": 8}),
        Op("halt"),
    ]
    for _ in range(2):
        _, memory = run_ops(tiny, *ops)
        assert memory[512 * 64 :].view(np.uint32)[:4].tolist() == [0, 0, 7, 0]
    with pytest.raises(Trap, match=r"^instruction 0 \(vnop\): waits for more of semaphore s3"):
        run_ops(tiny, Op("vnop", waits=((3, 1),)), Op("halt"))


# What is ahead of the faulty instruction: work for all engines, which takes hundreds of cycles.
def test_timeout(tiny):
    loop = Op("beq", {"rs": Reg(0), "x": 0, "y": 0})
    with pytest.raises(SimulationError, match="has not halted after 500 cycles"):
        run_ops(tiny, loop, max_cycles=500)


def test_memory_speed_counts():
    """Latency and bandwidth are the memory's: neither needs another model. What the engine waits
    for is memory."""
    load = Op("load", {"hbm": 64, "hstride": 64, "sstride": 4096, "rows": 8, "bytes": 4096})
    results = {}
    for latency, rate in ((10, 32), (200, 32), (10, 8)):
        config = TINY.replace(memory_latency_cycles=latency, memory_bytes_per_cycle=rate)
        results[latency, rate], _ = run_ops(RtlCore(config), load, Op("halt"))
    assert results[10, 32].cycles < 1024 + 100
    covered = TINY.load_bursts * TINY.burst_beats  # of 200 cycles
    assert results[200, 32].cycles > 1024 * 200 / covered
    assert 4 * 1024 < results[10, 8].cycles < 4 * 1024 + 300
    for (latency, rate), result in results.items():
        classes = result.classes["load"]
        waited = classes["memory"]
        # A line is written in the cycle behind its beat.
        assert 1024 <= classes["busy"] <= 2 * 1024 + 20, (latency, rate)
        assert (waited > 500) == (latency == 200 or rate == 8), classes


def test_cycle_classes_say_what_was_waited_for(tiny):
    """One engine works, the others wait for its semaphore, the sequencer for the engines."""
    busy = {
        "rows": 8,
        "bytes": 64 * TINY.line_bytes,
        "hstride": 40,
        "sstride": 64 * TINY.line_bytes,
    }
    ops = [
        Op("load", busy, signals=(1, 1, 1)),
        *(Op(nop, waits=((1, 1),)) for nop in ("snop", "mnop", "vnop")),
        Op("halt"),
    ]
    result, _ = run_ops(tiny, *ops)
    assert result.cycles > 8 * 64
    for engine in ("store", "matrix", "vector"):
        assert result.classes[engine]["semaphore"] > 0.8 * result.cycles
    assert result.classes["load"]["busy"] >= 8 * 64
    assert result.classes["sequencer"]["operand"] > 0.8 * result.cycles
    assert result.classes["sequencer"]["idle"] == 0
    chase = [Op("ld", {"rd": Reg(1), "x": DATA_ATOM})] * 20
    result, _ = run_ops(tiny, *chase, Op("halt"))
    assert result.classes["sequencer"]["memory"] > 20 * TINY.memory_latency_cycles
    assert result.classes["vector"]["idle"] == result.cycles


def test_classes_that_do_not_add_up_are_refused(tiny, monkeypatch):
    """The check itself: a counter that is one too high."""
    from sim import rtl

    class Wrong(rtl._Result):
        @property
        def cycles(self) -> int:
            return super().cycles + 1

    monkeypatch.setattr(rtl, "_Result", Wrong)
    with pytest.raises(RuntimeError, match="cycle classes of the sequencer must add up to"):
        run_ops(tiny, Op("halt"))


def test_reject_memories(tiny):
    with pytest.raises(ValueError, match="hbm must be a contiguous vector of uint8, not float32"):
        tiny.run(np.zeros(64, np.float32), 0, 1)
    with pytest.raises(ValueError, match="hbm must be a contiguous vector of uint8"):
        tiny.run(np.zeros(128, np.uint8)[::2], 0, 1)
    with pytest.raises(ValueError, match=r"hbm must be a multiple of 64 bytes, not 96"):
        tiny.run(np.zeros(96, np.uint8), 0, 1)
    with pytest.raises(ValueError, match=r"sram must be uint8 \(524288,\), not uint8 \(3,\)"):
        tiny.sram = np.zeros(3, np.uint8)
