"""The verilated core: programs and traps against the functional simulator, time, and misuse."""

import numpy as np
import pytest

from isa.config import load_config
from isa.counters import CYCLE_CLASSES
from isa.image import ProgramImage
from isa.program import Op, Reg, encode_program
from isa.table import INSTRUCTION_BYTES, Engine
from isa.traps import Cause, Fault
from sim.errors import SimulationError, Trap
from sim.functional import FunctionalCore
from sim.fuzz_maker import ProgramMaker, random_memory
from sim.rtl import RtlCore

TINY = load_config("tiny").replace(watchdog_cycles=1 << 12, hbm="")
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
DATA_ATOM = 512


@pytest.fixture(scope="module")
def tiny() -> RtlCore:
    return RtlCore(TINY)


def _memory(code: bytes) -> np.ndarray:
    memory = np.zeros(1 << 16, np.uint8)
    memory[: len(code)] = np.frombuffer(code, np.uint8)
    return memory


def _run(core: RtlCore, *ops: Op, max_cycles: int = 10**6):
    """Run instructions on a memory of 64 KiB; returns the result and the memory."""
    memory = _memory(encode_program(list(ops)))
    return core.run(memory, 0, len(ops), max_cycles), memory


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
    _run(tiny, Op("halt"))
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
        _, memory = _run(tiny, *ops)
        assert memory[512 * 64 :].view(np.uint32)[:4].tolist() == [0, 0, 7, 0]
    with pytest.raises(Trap, match=r"^instruction 0 \(vnop\): waits for more of semaphore s3"):
        _run(tiny, Op("vnop", waits=((3, 1),)), Op("halt"))


# What is ahead of the faulty instruction: work for all engines, which takes hundreds of cycles.
_LINE = TINY.line_bytes
_ROW = {"rows": 1, "bytes": 64 * _LINE}
_AHEAD = [
    Op("load", {"hbm": DATA_ATOM, "sram": 0} | _ROW, signals=(1, 1)),
    Op("matmul", {"astride": 16, "wstride": 16, "wpanel": 16, "m": 9, "k": 9, "n": 9},
       waits=((1, 1),), signals=(2,)),
    Op("vmov", {"dst": 1 << 14, "a": 0, "rows": 1, "cols": 512}, waits=((1, 1), (2, 1)),
       signals=(3,)),
    Op("store", {"hbm": DATA_ATOM + 64, "sram": 1 << 14} | _ROW, waits=((3, 1),)),
    Op("st", {"rs": Reg(0), "x": DATA_ATOM + 110, "y": 4}),
    Op("add", {"rd": Reg(9), "rs": Reg(0), "x": 1 << 24}),
]  # fmt: skip
# What is behind it, and must not be done.
_BEHIND = [
    Op("st", {"rs": Reg(9), "x": DATA_ATOM + 300}),
    Op("load", {"hbm": DATA_ATOM, "sram": 1 << 15} | _ROW),
    Op("store", {"hbm": DATA_ATOM + 200, "sram": 0} | _ROW),
    Op("matmul", {"acc": 512, "astride": 16, "wstride": 16, "m": 1, "k": 1, "n": 1}),
    Op("vmov", {"dst": 1 << 16, "a": 0, "rows": 1, "cols": 512}),
    Op("halt"),
]
_FAULTY = {
    "rows": Op("load", {"bytes": _LINE}),
    "line": Op("store", {"sram": 1, "rows": 1, "bytes": _LINE}),
    "hbm": Op("load", {"hbm": 1023, "rows": 1, "bytes": 128}),
    "register": Op("load", {"sram": Reg(9), "rows": 1, "bytes": _LINE}),
    "planes": Op("load", {"rows": 1, "bytes": _LINE, "planes": 2, "splane": 0}),
    "list": Op("gather", {"rows": 9, "bytes": 1, "sstride": _LINE, "hplane": _LINE}),
    "overlap": Op("vmov", {"rows": 2, "cols": 8}),
    "format": Op("matmul", {"m": 1, "k": 1, "n": 1, "af": "i8"}),
    "ld": Op("ld", {"rd": Reg(1), "x": 1024}),
    "st": Op("st", {"rs": Reg(1), "x": 0, "y": 3}),
    "wait": Op("vnop", waits=((7, 1),)),
    "sync": Op("sync", waits=((1, 1),)),
    "halt": Op("halt", waits=((30, 3),)),
    "branch": Op("beq", {"rs": Reg(0), "x": 0, "y": 5000}),
}


def _outcome(run) -> tuple[str, Fault, int]:
    with pytest.raises(Trap) as caught:
        run()
    return str(caught.value), caught.value.fault, caught.value.pc


def _both(core: RtlCore, code: bytes) -> tuple[tuple[str, Fault, int], tuple[str, Fault, int]]:
    """Run a program that traps on both machines; returns how, and compares the memories."""
    memory = _memory(code)
    memory[DATA_ATOM * 64 :] = np.random.default_rng(1).integers(0, 100, 1 << 15, np.uint8)
    expected = memory.copy()
    functional = FunctionalCore(core.config)
    core.sram, core.acc = functional.sram, functional.acc
    functional.load(ProgramImage(core.config, code), expected)
    count = len(code) // INSTRUCTION_BYTES
    rtl = _outcome(lambda: core.run(memory, 0, count, 10**6))
    assert np.array_equal(memory, expected) is False, "nothing was stored yet"
    reference = _outcome(functional.run)
    assert np.array_equal(memory, expected), "HBM differs"
    assert np.array_equal(core.sram, functional.sram), "SRAM differs"
    bits = core.acc.view(np.uint32), functional.acc.view(np.uint32)
    assert np.array_equal(*bits), "accumulators differ"
    return rtl, reference


@pytest.mark.parametrize("name", _FAULTY)
def test_traps_are_precise(tiny, name):
    """All that is ahead is done, nothing behind: as in the functional simulator."""
    ops = [*_AHEAD, _FAULTY[name], *_BEHIND]
    (message, fault, pc), (_, expected, at) = _both(tiny, encode_program(ops))
    assert (fault, pc) == (expected, at)
    assert pc == (5000 if name == "branch" else len(_AHEAD))
    assert message.startswith(f"instruction {pc}")


@pytest.mark.parametrize("byte", [0, 1, 5, 20, 31])
def test_words_that_are_no_instructions(tiny, byte):
    code = bytearray(encode_program([*_AHEAD, Op("vnop"), *_BEHIND]))
    code[len(_AHEAD) * INSTRUCTION_BYTES + byte] ^= 0x1F
    (_, fault, pc), (_, expected, at) = _both(tiny, bytes(code))
    assert (fault, pc) == (expected, at)
    assert fault.cause == (Cause.ILLEGAL_OPCODE if byte == 0 else Cause.RESERVED_BITS)


def test_end_of_program(tiny):
    (_, fault, pc), (_, expected, at) = _both(tiny, encode_program(_AHEAD))
    assert (fault, pc) == (expected, at) == (Fault(Cause.END_OF_PROGRAM), len(_AHEAD))


def test_semaphores_overflow(tiny):
    """65535 signals fit, the next one does not; counted in program order."""
    loop = [
        Op("snop", signals=(4, 4, 4)),
        Op("add", {"rd": Reg(1), "rs": Reg(1), "x": 1}),
        Op("blt", {"rs": Reg(1), "x": (1 << 16) // 3, "y": len(_AHEAD)}),
        Op("snop", waits=((4, 3),), signals=(4, 4, 4)),
        Op("vnop", signals=(5, 4)),
    ]
    (_, fault, pc), reference = _both(tiny, encode_program([*_AHEAD, *loop, *_BEHIND]))
    assert (fault, pc) == reference[1:]
    assert (fault, pc) == (Fault(Cause.SEMAPHORE_OVERFLOW, 4), len(_AHEAD) + 4)


def test_trap_names_the_instruction(tiny):
    with pytest.raises(Trap, match=r"^instruction 2: illegal opcode 0x00$"):
        tiny.run(_memory(encode_program([Op("lnop"), Op("sync")])), 0, 9)
    _run(tiny, Op("halt"))  # and the chip works again


def test_watchdog_ends_a_deadlock(tiny):
    """The vector unit takes the token of the older store, which waits for a slow load first."""
    ops = [
        Op("lnop", signals=(2,)),
        Op("load", {"hbm": DATA_ATOM} | _ROW, signals=(1,)),
        Op("snop", waits=((1, 1), (2, 1)), signals=(3,)),
        Op("mnop", waits=((3, 1),), signals=(2,)),
        Op("vnop", waits=((2, 1),)),
        Op("sync"),
        Op("halt"),
    ]
    with pytest.raises(Trap, match=r"^instruction 5 \(sync\): nothing has moved") as caught:
        _run(tiny, *ops)
    assert caught.value.fault == Fault(Cause.WATCHDOG)


def test_code_outside_the_memory_is_a_bus_error(tiny):
    with pytest.raises(Trap, match=r"^instruction 0: the memory refused an access at 0x1000$"):
        tiny.run(np.zeros(1 << 12, np.uint8), 64, 1)


@pytest.mark.parametrize("number", [1 << 10, 0xFFFFFFFF])
@pytest.mark.parametrize("stride", [1, (1 << 24) - 1])
def test_gathered_rows_outside_the_memory_are_a_bus_error(tiny, number, stride):
    """Also where the address would be inside again if it wrapped."""
    fields = {"hbm": 1, "hstride": stride, "rows": 1, "bytes": 64, "sram": 64}
    ops = [Op("gather", fields), Op("sync"), Op("halt")]
    tiny.sram = np.zeros(TINY.sram_bytes, np.uint8)
    _run(tiny, *ops)  # row 0 is there
    sram = tiny.sram
    sram[:4] = np.array([number], np.uint32).view(np.uint8)
    tiny.sram = sram
    with pytest.raises(Trap, match="the memory refused an access") as caught:
        _run(tiny, *ops)
    assert caught.value.fault == Fault(Cause.BUS_ERROR)


def test_timeout(tiny):
    loop = Op("beq", {"rs": Reg(0), "x": 0, "y": 0})
    with pytest.raises(SimulationError, match="has not halted after 500 cycles"):
        _run(tiny, loop, max_cycles=500)


def test_memory_speed_counts():
    """Latency and bandwidth are the memory's: neither needs another model. What the engine waits
    for is memory."""
    load = Op("load", {"hbm": 64, "hstride": 64, "sstride": 4096, "rows": 8, "bytes": 4096})
    results = {}
    for latency, rate in ((10, 32), (200, 32), (10, 8)):
        config = TINY.replace(memory_latency_cycles=latency, memory_bytes_per_cycle=rate)
        results[latency, rate], _ = _run(RtlCore(config), load, Op("halt"))
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
    busy = {"rows": 8, "bytes": 64 * _LINE, "hstride": 40, "sstride": 64 * _LINE}
    ops = [
        Op("load", busy, signals=(1, 1, 1)),
        *(Op(nop, waits=((1, 1),)) for nop in ("snop", "mnop", "vnop")),
        Op("halt"),
    ]
    result, _ = _run(tiny, *ops)
    assert result.cycles > 8 * 64
    for engine in ("store", "matrix", "vector"):
        assert result.classes[engine]["semaphore"] > 0.8 * result.cycles
    assert result.classes["load"]["busy"] >= 8 * 64
    assert result.classes["sequencer"]["operand"] > 0.8 * result.cycles
    assert result.classes["sequencer"]["idle"] == 0
    chase = [Op("ld", {"rd": Reg(1), "x": DATA_ATOM})] * 20
    result, _ = _run(tiny, *chase, Op("halt"))
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
        _run(tiny, Op("halt"))


def test_reject_memories(tiny):
    with pytest.raises(ValueError, match="hbm must be a contiguous vector of uint8, not float32"):
        tiny.run(np.zeros(64, np.float32), 0, 1)
    with pytest.raises(ValueError, match="hbm must be a contiguous vector of uint8"):
        tiny.run(np.zeros(128, np.uint8)[::2], 0, 1)
    with pytest.raises(ValueError, match=r"hbm must be a multiple of 64 bytes, not 96"):
        tiny.run(np.zeros(96, np.uint8), 0, 1)
    with pytest.raises(ValueError, match=r"sram must be uint8 \(524288,\), not uint8 \(3,\)"):
        tiny.sram = np.zeros(3, np.uint8)
