"""The programs of programs/: results against independent references, and RTL against simulator."""

from functools import cache

import ml_dtypes
import numpy as np
import pytest

from isa.assembler import assemble_file
from isa.image import ProgramImage
from isa.table import INSTRUCTIONS, Choice
from sim.backends import make_backend
from sim.check import check_image
from sim.functional import FunctionalCore
from sim.verify import verify
from tests.support import ROOT

NAMES = sorted(path.stem for path in (ROOT / "programs").glob("*.s"))
EVERY = pytest.mark.parametrize("name", NAMES)


@cache
def program(name: str) -> ProgramImage:
    return assemble_file(ROOT / "programs" / f"{name}.s")


@cache
def executed(name: str) -> FunctionalCore:
    core = FunctionalCore(program(name).config)
    core.load(program(name))
    core.run()
    return core


def words(name: str, address: int, count: int) -> np.ndarray:
    return executed(name).hbm[address : address + 4 * count].view(np.uint32)


def test_together_they_use_every_instruction_with_every_choice():
    ops = [op for name in NAMES for op in program(name).ops()]
    assert {op.mnemonic for op in ops} == {entry.mnemonic for entry in INSTRUCTIONS}
    for entry in INSTRUCTIONS:
        for name in entry.uses:
            field = entry.format.slots[name].field
            if isinstance(field, Choice):
                legal = (
                    {"f32"} if (entry.mnemonic, name) == ("vargmax", "dt") else set(field.values)
                )
                used = {op.get(name) for op in ops if op.mnemonic == entry.mnemonic}
                assert used == legal, f"{entry.mnemonic} {name}"


@EVERY
def test_the_static_checker_finds_nothing(name: str):
    check_image(program(name))


@EVERY
def test_rtl_and_functional_simulator_agree(name: str):
    backends = make_backend("functional"), make_backend("rtl")
    (run,) = verify(program(name), backends, 0)
    assert run.difference is None
    assert run.second.cycles > 0


def test_scalar():
    wanted = [0, 6, 8, 1, 0xF6F4F3BF, 0x0F0F00F0, 0x80000021, 14, 1, 0xFFFFFFFF, 7, 0x80000000]
    wanted[4] = 7 * 0x23456789 % 2**32
    assert words("scalar", 0x400, 15).tolist() == [*wanted, 15, 16, 0]
    fibonacci = [1, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987]
    assert words("scalar", 0x440, 17).tolist() == [*fibonacci, 0]


def test_dma():
    hbm = executed("dma").hbm
    source = program("dma").memory()

    def atom(number: int, size: int = 64) -> np.ndarray:
        return source[64 * number : 64 * number + size]

    def check(number: int, wanted: np.ndarray) -> None:
        assert np.array_equal(hbm[64 * number : 64 * number + wanted.size], wanted)

    check(0x801, atom(1, 10016))
    check(0xA01, atom(1, 10016))
    for row in range(7):
        check(0xC01 + 2 * row, atom(0x20 + 3 * row, 96))
    for row in range(33):
        assert np.array_equal(hbm[0x34000 + 32 * row :][:32], atom(3 + 5 * row, 32))
    for row in range(9):
        check(0xE00 + row, atom(9, 32))
    for row in range(3):
        check(0xF00 + 3 * row, atom(0x30 + 3 * row, 192))
    block = np.zeros(9 * 64, np.uint8)  # what is not stored stays 0
    for plane, row in np.ndindex(2, 3):
        start = 64 * (4 * plane + row) + 59
        block[start : start + 37] = source[64 * (0x40 + 9 * plane + 2 * row) + 21 :][:37]
    check(0xB00, block)
    rows = np.zeros((9, 64), np.uint8)
    for row, number in enumerate((7, 0, 7, 3, 100, 41, 5, 2, 19)):
        rows[row, :50] = source[64 * (1 + 3 * number) + 5 :][:50]
    check(0xB40, rows.reshape(-1))


def test_matmul():
    memory = program("matmul").memory()
    result = executed("matmul").hbm[0x20000:0x21000]

    def bf16(address: int, rows: int, cols: int, stride: int) -> np.ndarray:
        lines = [memory[address + r * stride :][: 2 * cols] for r in range(rows)]
        return np.array([line.view(ml_dtypes.bfloat16).astype(np.float64) for line in lines])

    def check(offset: int, stride: int, wanted: np.ndarray) -> None:
        for row, numbers in enumerate(wanted):
            got = result[offset + row * stride :][: 4 * numbers.size].view(np.float32)
            assert np.allclose(got, numbers, rtol=1e-5, atol=1e-3)

    a, w = bf16(0, 24, 24, 48), bf16(0x1000, 24, 24, 48)
    panels = [bf16(0x2000 + 400 * j, 24, 8, 16) for j in range(3)]
    p = np.concatenate(panels, axis=1)
    check(0x000, 96, a[:5, :19] @ w[:19, :21])
    check(0x200, 64, a[:5, :19] @ a[:9, :19].T)
    check(0x400, 96, a[:11] @ p[:, :17])
    one = a[2:3] @ p
    one += a[3:4, :7] @ w[:7]
    one[:, :23] += a[:1, :20] @ a[1:24, :20].T
    check(0x900, 96, one)
    check(0xA00, 32, a[1:2, :1] @ w[:1, :1])
    check(0xA20, 32, a[1:4, :8] @ w[:8, :1])


def test_pipeline():
    memory = program("pipeline").memory()
    hbm = executed("pipeline").hbm

    def bf16(place: np.ndarray) -> np.ndarray:
        return place.view(ml_dtypes.bfloat16).astype(np.float64)

    x = bf16(memory[0x1000:0x1480]).reshape(18, 32)[:, :19]
    w = bf16(memory[0x4000:0x44C0]).reshape(19, 32)[:, :21]
    y = x @ w / 8
    got = bf16(hbm[0x30000:0x30480]).reshape(18, 32)
    assert np.allclose(got[:, :21], np.maximum(y, 0), rtol=2**-8, atol=1e-5)
    sums = hbm[0x20000:0x20480].view(np.float32).reshape(18, 16)[:, 0]
    assert np.allclose(sums, y.sum(axis=1), atol=1e-5)
    largest = hbm[0x38000:0x38240].view(np.float32).reshape(18, 8)
    assert np.array_equal(largest[:, 0], np.maximum(sums, 0))
    assert not largest[:, 1:].any()
