"""The verilated core against the functional simulator, bit for bit, and its ways to fail."""

import numpy as np
import pytest

from isa.config import load_config
from isa.image import ProgramImage
from isa.program import Op, Reg, encode_program
from sim.errors import SimulationError, Trap
from sim.functional import FunctionalCore
from sim.rtl import RtlCore
from tests.random_programs import ProgramMaker, random_memory

TINY = load_config("tiny")
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


def _memory(*ops: Op) -> np.ndarray:
    memory = np.zeros(1 << 16, np.uint8)
    code = encode_program(list(ops))
    memory[: len(code)] = np.frombuffer(code, np.uint8)
    return memory


def _check_agreement(core: RtlCore, functional: FunctionalCore, seed: int, phases: int) -> None:
    ops = ProgramMaker(core.config, seed).program(phases)
    memory = random_memory(ops, seed)
    expected = memory.copy()
    functional.load(ProgramImage.from_ops(core.config, ops), expected)
    counters = functional.run()
    result = core.run(memory, 0, max_cycles=10**6)
    assert np.array_equal(memory, expected), "HBM differs"
    assert np.array_equal(core.sram, functional.sram), "SRAM differs"
    bits = core.acc.view(np.uint32), functional.acc.view(np.uint32)
    assert np.array_equal(*bits), "accumulators differ"
    assert result.counters == counters
    assert result.conflicts > 0


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
    tiny.run(_memory(Op("halt")), 0)
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
        memory = _memory(*ops)
        tiny.run(memory, 0)
        assert memory[512 * 64 :].view(np.uint32)[:4].tolist() == [0, 0, 7, 0]
    with pytest.raises(SimulationError, match="deadlock: nothing has moved"):
        tiny.run(_memory(Op("vnop", waits=((3, 1),)), Op("halt")), 0)


def test_trap_names_the_instruction(tiny):
    with pytest.raises(Trap, match=r"^instruction 2: illegal opcode$"):
        tiny.run(_memory(Op("lnop"), Op("sync")), 0)
    tiny.run(_memory(Op("halt")), 0)  # and the chip works again


def test_access_behind_memory(tiny):
    load = Op("load", {"hbm": 1024, "rows": 1, "bytes": 32})
    with pytest.raises(SimulationError, match="HBM at 0x10000, behind the memory's 0x10000 bytes"):
        tiny.run(_memory(load, Op("halt")), 0)
    with pytest.raises(SimulationError, match="HBM at 0x10000"):
        tiny.run(_memory(Op("st", {"rs": Reg(0), "x": 1024}), Op("halt")), 0)


def test_timeout(tiny):
    loop = Op("beq", {"rs": Reg(0), "x": 0, "y": 0})
    with pytest.raises(SimulationError, match="has not halted after 500 cycles"):
        tiny.run(_memory(loop), 0, max_cycles=500)


def test_memory_speed_counts():
    """Latency and bandwidth are the memory's: neither needs another model."""
    load = Op("load", {"hbm": 64, "hstride": 64, "sstride": 4096, "rows": 8, "bytes": 4096})
    cycles = {}
    for latency, rate in ((10, 32), (200, 32), (10, 8)):
        config = TINY.replace(memory_latency_cycles=latency, memory_bytes_per_cycle=rate)
        cycles[latency, rate] = RtlCore(config).run(_memory(load, Op("halt")), 0).cycles
    assert cycles[10, 32] < 1024 + 100  # what the fetch reads ahead takes its share
    assert cycles[200, 32] > 1024 * 200 / (4 * 16)  # 4 bursts of 16 beats cover 64 of 200 cycles
    assert 4 * 1024 < cycles[10, 8] < 4 * 1024 + 300


def test_reject_memories(tiny):
    with pytest.raises(ValueError, match="hbm must be a contiguous vector of uint8, not float32"):
        tiny.run(np.zeros(64, np.float32), 0)
    with pytest.raises(ValueError, match="hbm must be a contiguous vector of uint8"):
        tiny.run(np.zeros(128, np.uint8)[::2], 0)
    with pytest.raises(ValueError, match=r"sram must be uint8 \(524288,\), not uint8 \(3,\)"):
        tiny.sram = np.zeros(3, np.uint8)
