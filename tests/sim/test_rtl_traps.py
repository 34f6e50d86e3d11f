"""Traps of the verilated core against the functional simulator."""

import numpy as np
import pytest

from isa.image import ProgramImage
from isa.program import Op, Reg, encode_program
from isa.table import INSTRUCTION_BYTES
from isa.traps import Cause, Fault
from sim.errors import Trap
from sim.functional import FunctionalCore
from sim.rtl import RtlCore
from tests.sim.rtl_cores import DATA_ATOM, TINY, memory_with, run_ops


@pytest.fixture(scope="module")
def tiny() -> RtlCore:
    return RtlCore(TINY)


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
    memory = memory_with(code)
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
        tiny.run(memory_with(encode_program([Op("lnop"), Op("sync")])), 0, 9)
    run_ops(tiny, Op("halt"))  # and the chip works again


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
        run_ops(tiny, *ops)
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
    run_ops(tiny, *ops)  # row 0 is there
    sram = tiny.sram
    sram[:4] = np.array([number], np.uint32).view(np.uint8)
    tiny.sram = sram
    with pytest.raises(Trap, match="the memory refused an access") as caught:
        run_ops(tiny, *ops)
    assert caught.value.fault == Fault(Cause.BUS_ERROR)
