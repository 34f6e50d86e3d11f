"""sim.cycle.gemm: the product is right, its program is free of hazards, and the array is busy."""

import numpy as np
import pytest

from isa.config import load_config
from sim.check import check_image
from sim.cycle.follow import follow
from sim.cycle.gemm import Gemm
from sim.cycle.model import run_trace
from sim.functional import FunctionalCore
from tests.support import rng

SMALL = load_config("small")
SIZES = [(256, 256, 256), (8, 512, 96), (70, 32, 32), (200, 64, 224)]


def _codes(values: np.ndarray) -> np.ndarray:
    return (np.ascontiguousarray(values, np.float32).view(np.uint32) >> 16).astype(np.uint16)


@pytest.mark.parametrize("sizes", SIZES)
def test_product_is_exact(sizes):
    """Of -1, 0 and 1: sums of at most 256 are exact in bf16."""
    gemm, dice = Gemm(SMALL, *sizes), rng(1)
    a = dice.integers(-1, 2, (gemm.m, gemm.k))
    b = dice.integers(-1, 2, (gemm.k, gemm.n))
    want = a @ b
    assert np.abs(want).max() in range(1, 257)
    image = gemm.image
    memory = image.memory()
    for start, values in ((gemm.a, a), (gemm.b, gemm.panels(b))):
        codes = _codes(values).view(np.uint8).ravel()
        memory[start : start + codes.size] = codes
    core = FunctionalCore(SMALL)
    core.load(image, memory)
    core.run()
    found = core.hbm[gemm.c :][: gemm.m * gemm.c_row].view(np.uint16).reshape(gemm.m, gemm.n)
    assert np.array_equal(found, _codes(want))


@pytest.mark.parametrize("weights", ["bf16", "mxfp4", "nvfp4"])
@pytest.mark.parametrize("sizes", SIZES)
def test_program_is_free_of_hazards(sizes, weights):
    """The static checker raises otherwise."""
    assert check_image(Gemm(SMALL, *sizes, weights).image) > 5


def test_array_is_busy():
    """At 95 % of its peak at least, as the cycle model counts, which the RTL agrees with."""
    gemm = Gemm(SMALL, 256, 256, 256)
    image = gemm.image
    cycles = run_trace(follow(image, image.memory()), SMALL).cycles
    assert 256**3 / (16 * 16) / cycles >= 0.95


@pytest.mark.parametrize("sizes", [(600, 256, 256), (8, 250, 256), (8, 256, 250), (8, 65536, 256)])
def test_impossible_products_are_refused(sizes):
    with pytest.raises(ValueError, match=r"small has no .*product|small has no room"):
        Gemm(SMALL, *sizes)
