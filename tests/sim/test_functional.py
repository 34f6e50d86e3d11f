"""The functional simulator: DMA, whole programs, and what it refuses."""

import numpy as np
import pytest

from isa.counters import COUNTERS
from isa.image import ImageError, ProgramImage
from isa.program import Op
from isa.traps import Cause, Fault
from sim.errors import SimulationError, Trap
from tests.sim.cores import TINY, WIDE, execute, make
from tests.support import rng


@pytest.mark.parametrize("mnemonic", ["load", "store"])
def test_dma_copies_rows(mnemonic: str):
    core = make()
    core.hbm[:] = rng(5).integers(0, 256, core.hbm.size)
    sram, hbm = core.sram.copy(), core.hbm.copy()
    fields = {"hbm": 5, "hstride": 3, "sram": 640, "sstride": 160, "rows": 7, "bytes": 96}
    counters = execute(core, Op(mnemonic, fields))
    for row in range(7):
        outside, inside = 320 + 192 * row, 640 + 160 * row
        if mnemonic == "load":
            sram[inside : inside + 96] = hbm[outside : outside + 96]
        else:
            hbm[outside : outside + 96] = sram[inside : inside + 96]
    assert np.array_equal(core.sram, sram)
    assert np.array_equal(core.hbm, hbm)
    assert counters[f"{mnemonic}_lines"] == 21
    assert counters[f"{mnemonic}_instructions"] == 1


@pytest.mark.parametrize("size", [1, 7, 8, 31, 33, 96])
@pytest.mark.parametrize("mnemonic", ["load", "store"])
def test_dma_copies_planes_of_rows_of_any_place_and_length(mnemonic: str, size: int):
    core = make()
    core.hbm[:] = rng(5).integers(0, 256, core.hbm.size)
    sram, hbm = core.sram.copy(), core.hbm.copy()
    fields = {"hbm": 5, "hstride": 3, "sram": 640, "sstride": 160, "rows": 3, "bytes": size}
    fields |= {"offset": 37, "planes": 2, "hplane": 11, "splane": 1024}
    counters = execute(core, Op(mnemonic, fields))
    for plane, row in np.ndindex(2, 3):
        outside = 64 * (5 + 11 * plane + 3 * row) + 37
        inside = 640 + 1024 * plane + 160 * row
        if mnemonic == "load":
            filled = -(-size // TINY.lanes) * TINY.lanes
            sram[inside : inside + filled] = 0
            sram[inside : inside + size] = hbm[outside : outside + size]
        else:
            hbm[outside : outside + size] = sram[inside : inside + size]
    assert np.array_equal(core.sram, sram)
    assert np.array_equal(core.hbm, hbm)
    assert counters[f"{mnemonic}_lines"] == 6 * -(-size // TINY.line_bytes)


def test_gather_takes_rows_by_number():
    core = make()
    core.hbm[:] = rng(6).integers(0, 256, core.hbm.size)
    numbers = np.array([5, 0, 5, 40, 3, 1, 7, 2, 9], np.uint32)
    core.sram[256 : 256 + 36] = numbers.view(np.uint8)
    expected = core.sram.copy()
    fields = {"hbm": 7, "hstride": 2, "sram": 512, "sstride": 64, "rows": 9, "bytes": 45}
    counters = execute(core, Op("gather", fields | {"offset": 9, "hplane": 256}))
    for row, number in enumerate(numbers.tolist()):
        start = 64 * (7 + 2 * number) + 9
        expected[512 + 64 * row :][:48] = 0
        expected[512 + 64 * row :][:45] = core.hbm[start : start + 45]
    assert np.array_equal(core.sram, expected)
    assert counters["load_lines"] == 18
    assert counters["load_instructions"] == 1


@pytest.mark.parametrize("number", [1023, 1 << 26, 0xFFFFFFFF])
@pytest.mark.parametrize("stride", [1, (1 << 24) - 1])
def test_gather_behind_the_memory_is_a_bus_error(number: int, stride: int):
    """At each execution, whatever the list held before."""
    core = make()
    ops = Op("gather", {"hbm": 1, "hstride": stride, "sram": 64, "rows": 1, "bytes": 64})
    core.sram[:4] = 0
    execute(core, ops)
    core.sram[:4] = np.array([number], np.uint32).view(np.uint8)
    with pytest.raises(
        Trap, match=r"^instruction 0 \(gather\): the memory refused an access"
    ) as caught:
        core.run()
    assert caught.value.fault == Fault(Cause.BUS_ERROR)
    core.sram[:4] = np.array([1022], np.uint32).view(np.uint8)
    if stride == 1:
        core.run()
        assert np.array_equal(core.sram[64:128], core.hbm[-64:])


def test_gather_ends_inside_the_memory_with_every_row():
    core = make()
    core.sram[:8] = np.array([3, 1022], np.uint32).view(np.uint8)
    fields = {"hbm": 1, "hstride": 1, "sram": 64, "sstride": 96, "rows": 2, "bytes": 64}
    execute(core, Op("gather", fields))
    for change in ({"bytes": 65}, {"offset": 1}):
        with pytest.raises(Trap, match="the memory refused an access"):
            execute(core, Op("gather", fields | change))


def test_counters_and_semaphores():
    core = make()
    counters = execute(
        core,
        Op("lnop", signals=(1, 1, 2)),
        Op("mnop", waits=((1, 2), (2, 1)), signals=(3,)),
        Op("sync"),
        Op("vnop", waits=((3, 1),)),
        Op("snop"),
    )
    assert list(counters) == list(COUNTERS)
    assert counters["sequencer_instructions"] == 2  # sync, halt
    assert [counters[f"{e}_instructions"] for e in ("load", "store", "matrix", "vector")] == [1] * 4


def test_state_stays_from_run_to_run_and_a_new_program_does_not_see_old_plans():
    core = make()
    load = Op("load", {"hbm": 0, "sram": 0, "rows": 1, "bytes": 32})
    for value in (1, 2):
        execute(core, load, hbm=np.full(4096, value, np.uint8))
        assert core.sram[:32].tolist() == [value] * 32
    core.hbm[:32] = 3
    core.run()  # the same program again sees what the host wrote
    assert core.sram[:32].tolist() == [3] * 32


def test_waits_take_what_they_waited_for():
    core = make()
    lnop, snop = Op("lnop", signals=(1, 1, 1)), Op("snop", waits=((1, 2),))
    execute(core, lnop, snop)
    with pytest.raises(
        SimulationError, match=r"semaphore s1 than has been signalled \(2 wanted, 1 left\)$"
    ):
        execute(core, lnop, snop, snop)


def test_signalling_does_not_survive_a_run():
    core = make()
    execute(core, Op("lnop", signals=(1,)))
    with pytest.raises(SimulationError, match=r"\(1 wanted, 0 left\)$"):
        execute(core, Op("lnop", waits=((1, 1),)))


GOOD_VECTOR = {"dst": 0, "dstride": 64, "a": 0x1000, "astride": 64, "rows": 2, "cols": 9}
GOOD_MATMUL = {
    "a": 0,
    "astride": 16,
    "w": 0x1000,
    "wstride": 16,
    "wpanel": 16,
    "m": 1,
    "k": 1,
    "n": 1,
}
GOOD_LOAD = {"hbm": 0, "hstride": 1, "sram": 0, "sstride": 32, "rows": 1, "bytes": 32}


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (Op("load", GOOD_LOAD | {"rows": 0}), "load): rows must be a legal size, not 0"),
        (Op("load", GOOD_LOAD | {"sram": 16}), "load): sram must be aligned to 32, not 0x10"),
        (Op("load", GOOD_LOAD | {"planes": 0}), "load): planes must be a legal size, not 0"),
        (Op("load", GOOD_LOAD | {"splane": 48}), "load): splane must be aligned to 32, not 0x30"),
        (Op("store", GOOD_LOAD | {"planes": 2, "hplane": 0}),
         "store): hplane must keep rows apart that are written, not 0"),
        (Op("gather", {"rows": 1, "bytes": 1, "hplane": 0x7FFC0, "hbm": 1024}),
         "gather): what begins at hbm must end inside its memory, not at 0x10001 of 0x10000"),
        (Op("load", GOOD_LOAD | {"rows": 2, "sstride": 0}),
         "load): sstride must keep rows apart that are written, not 0"),
        (Op("load", GOOD_LOAD | {"hbm": 1024}),
         "load): what begins at hbm must end inside its memory, not at 0x10020 of 0x10000"),
        (Op("store", GOOD_LOAD | {"sram": 0x7FFE0, "rows": 2}),
         "store): what begins at sram must end inside its memory, not at 0x80020 of 0x80000"),
        (Op("matmul", GOOD_MATMUL | {"k": 0}), "matmul): k must be a legal size, not 0"),
        (Op("matmul", GOOD_MATMUL | {"a": 8}), "matmul): a must be aligned to 16, not 0x8"),
        (Op("matmul", GOOD_MATMUL | {"w": 8}), "matmul): w must be aligned to 16, not 0x8"),
        (Op("matmul", GOOD_MATMUL | {"w": 0x7FFF0, "k": 2}),
         "matmul): what begins at w must end inside its memory, not at 0x80010 of 0x80000"),
        (Op("matmul", GOOD_MATMUL | {"acc": 1023, "m": 2}),
         "matmul): what begins at acc must end inside its memory, not at 0x401 of 0x400"),
        (Op("vmov", GOOD_VECTOR | {"cols": 0}), "vmov): cols must be a legal size, not 0"),
        (Op("vmov", GOOD_VECTOR | {"a": 16}), "vmov): a must be aligned to 32, not 0x10"),
        (Op("vmov", GOOD_VECTOR | {"dstride": 32}),
         "vmov): dstride must keep rows apart that are written, not 32"),
        (Op("vadd", GOOD_VECTOR | {"b": 0x7FFE0}),
         "vadd): what begins at b must end inside its memory, not at 0x80020 of 0x80000"),
        (Op("vmov", GOOD_VECTOR | {"at": "acc", "a": 1000}),
         "vmov): what begins at a must end inside its memory, not at 0x42a of 0x400"),
        (Op("vrot", GOOD_VECTOR | {"rep": 9}), "vrot): rep must be a legal size, not 9"),
        (Op("vrot", GOOD_VECTOR | {"rep": 8}), "vrot): cols must be aligned to 8, not 0x9"),
        (Op("vrot", GOOD_VECTOR | {"cols": 16, "rep": 8, "dst": 0x1000}),
         "vrot): dst must keep rows apart that are written, not 4096"),
        (Op("vnop", waits=((5, 2),)),
         "vnop): waits for more of semaphore s5 than has been signalled (2 wanted, 1 left)"),
    ],
)  # fmt: skip
def test_what_the_chip_does_not_define_is_refused(op: Op, message: str):
    core = make()
    with pytest.raises(SimulationError) as caught:
        execute(core, Op("lnop", signals=(5,)), op)
    assert str(caught.value) == f"instruction 1 ({message}"


def test_too_many_signals_are_refused():
    core = make()
    with pytest.raises(SimulationError, match=r"semaphore s1 must stay below 65536$"):
        execute(core, *[Op("lnop", signals=(1, 1, 1))] * 21846)


def test_missing_halt_and_other_configurations():
    core = make()
    core.load(ProgramImage.from_ops(TINY, [Op("sync")]))
    with pytest.raises(
        Trap,
        match=r"^instruction 1: behind the end of the program \(1 instructions\)$",
    ):
        core.run()
    with pytest.raises(ImageError, match="made for configuration 'wide'"):
        core.load(ProgramImage(WIDE, b""))
