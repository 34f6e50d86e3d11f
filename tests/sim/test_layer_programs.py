"""programs/layers.s and programs/w8a8*.s against float64. That the RTL computes the same bits is
tested with the other programs."""

import math

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from isa.assembler import assemble_file
from isa.image import ProgramImage
from sim.functional import FunctionalCore
from tests.support import ROOT

STORED = 0x400 * 64  # where layers.s stores


def run(name: str) -> tuple[ProgramImage, NDArray[np.uint8]]:
    """The program's image and the memory that it leaves."""
    image = assemble_file(ROOT / "programs" / name, None)
    core = FunctionalCore(image.config)
    core.load(image)
    core.run()
    return image, core.hbm


def floats(memory: NDArray[np.uint8], address: int, shape: tuple[int, int], stride: int = 0):
    """Rows of fp32 as float64, `stride` bytes apart (0: behind each other)."""
    rows, cols = shape
    step = stride or 4 * cols
    data = [memory[address + r * step :][: 4 * cols].view(np.float32) for r in range(rows)]
    return np.array(data, np.float64)


def softmax(scores: NDArray) -> NDArray:
    """By rows; rows of -inf give zeros."""
    with np.errstate(invalid="ignore"):
        weights = np.exp(scores - scores.max(axis=1, keepdims=True))
    weights = np.nan_to_num(weights)
    return weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)


def test_what_layers_need_beside_products():
    image, memory = run("layers.s")
    x = floats(image.memory(), 0, (6, 40))
    gain, bias = (floats(image.memory(), a, (1, 40)) for a in (0x400, 0x500))

    def check(offset: int, wanted: NDArray, bound: float, stride: int = 0) -> None:
        got = floats(memory, STORED + offset, wanted.shape, stride)
        assert np.abs(got - wanted).max() < bound, hex(offset)

    normal = x - x.mean(axis=1, keepdims=True)
    normal /= np.sqrt((normal**2).mean(axis=1, keepdims=True) + 1e-5)
    # A dozen roundings of values up to 8 (2^-21 each at most), Abramowitz and Stegun's 1.5e-7 more.
    bound = 12 * 2.0**-21
    check(0, normal * gain + bias, bound)
    check(0x400, x / (1 + np.exp(-x)), bound)
    inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)
    check(0x800, x * 0.5 * (1 + np.tanh(inner)), bound)
    check(0xC00, x * 0.5 * (1 + np.vectorize(math.erf)(x / np.sqrt(2))), bound + 8 * 1.5e-7)
    check(0x1000, 3 * np.tanh(x / 3), bound)
    column, row = np.arange(11)[None], np.arange(6)[:, None]
    seen = (column >= row + 2) & (column < row + 6)
    check(0x1400, softmax(np.where(seen, x[:, :11], -np.inf)), bound, 64)
    mask = floats(image.memory(), 0x600, (5, 13), 64)
    assert np.isinf(mask[2]).all()
    assert np.isinf(mask).sum(axis=1).tolist() == [3, 0, 13, 7, 1]
    check(0x1800, softmax(x[:5, :13] + mask), bound, 64)
    without_key = floats(memory, STORED + 0x1800, (5, 13), 64)[2]
    assert not without_key.any()
    best = [memory[STORED + 0x1C00 + 32 * r :][:4].view(np.uint32)[0] for r in range(6)]
    assert best == x.argmax(axis=1).tolist()


@pytest.mark.parametrize(
    ("name", "dtype", "cols", "largest_code"),
    [("w8a8.s", np.int8, 8, 127), ("w8a8_fp8.s", ml_dtypes.float8_e4m3fn, 4, 448)],
)
def test_w8a8_without_the_host(name, dtype, cols, largest_code):
    image, memory = run(name)
    x = floats(image.memory(), 0, (7, 40))
    panels = image.memory()[0x500:][:960].view(dtype).reshape(-1, 40, cols)
    codes = panels.transpose(1, 0, 2).reshape(40, 24).astype(np.float64)
    scales = floats(image.memory(), 0x900, (1, 24))
    got = floats(memory, 0x40 * 64, (7, 24))
    stored = memory[0x60 * 64 :][:280].view(dtype).reshape(7, 40).astype(np.float64)
    largest = np.abs(x).max(axis=1, keepdims=True)
    assert largest[1] > 40
    assert largest[2] == 0
    assert not got[2].any()
    step = np.where(largest == 0, 1, largest / largest_code)
    # A code is at most half a step from its value (E4M3: 1/16 of it, or half its least step), and
    # a few roundings.
    half = 0.5 if dtype == np.int8 else np.maximum(np.abs(x / step) / 16, 2.0**-10)
    assert (np.abs(stored - x / step) <= half + largest_code * 4 * 2.0**-24).all()
    top = np.abs(stored).max(axis=1) == largest_code
    assert top.tolist() == [True, True, False, *[True] * 4]
    exact = stored @ codes * step * scales
    # int8: exact sums; fp8: 40 additions in fp32.
    sums = np.abs(stored) @ np.abs(codes) * step * np.abs(scales)
    roundings = 6 if dtype == np.int8 else 46
    assert (np.abs(got - exact) <= roundings * 2.0**-24 * sums).all()
    # And what it is for: near the product in full precision.
    error = np.abs(got - x @ (codes * scales))
    rounding = np.broadcast_to(half * step, x.shape)
    assert (error <= 1.02 * rounding @ np.abs(codes * scales)).all()
