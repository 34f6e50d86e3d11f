"""Matrix unit of the functional simulator, against exact integers."""

import itertools

import numpy as np
import pytest

from isa.program import Op
from tests.sim.cores import CONFIGS, execute, make, put_bf16
from tests.support import rng


def whole(dice: np.random.Generator, *shape: int) -> np.ndarray:
    """Small integers: all sums are exact, in any order."""
    return dice.integers(-9, 10, shape)


@CONFIGS
@pytest.mark.parametrize("layout", ["normal", "transposed"])
@pytest.mark.parametrize("mode", ["overwrite", "accumulate"])
@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (5, 19, 21), (3, 70, 67), (40, 32, 8)])
def test_matmul(config, layout: str, mode: str, m: int, k: int, n: int):
    core, dice = make(config), rng(6)
    a, w, before = whole(dice, m, k), whole(dice, k, n), whole(dice, *core.acc.shape)
    core.acc[:] = before
    panels = -(-n // config.cols)
    put_bf16(core, 0x1000, a, 0x180)
    fields = {"acc": 7, "a": 0x1000, "astride": 0x180, "w": 0x8000, "m": m, "k": k, "n": n}
    fields |= {"mode": mode, "layout": layout}
    if layout == "normal":
        panel, stride = 0x4000, 2 * config.cols
        for j in range(panels):
            part = w[:, j * config.cols : (j + 1) * config.cols]
            put_bf16(core, 0x8000 + j * panel, part, stride)
        fields |= {"wstride": stride, "wpanel": panel}
    else:
        put_bf16(core, 0x8000, w.T, 0x100)
        fields |= {"wstride": 0x100}
    counters = execute(core, Op("matmul", fields))
    wanted = before.copy()
    padded = np.zeros((m, panels * config.cols), int)
    padded[:, :n] = a @ w
    for j, i in itertools.product(range(panels), range(m)):
        old = before[7 + j * m + i] if mode == "accumulate" else 0
        wanted[7 + j * m + i] = old + padded[i, j * config.cols : (j + 1) * config.cols]
    assert np.array_equal(core.acc, wanted)
    assert counters["matrix_rows"] == m * panels * -(-k // config.rows)


def test_matmul_with_panels_side_by_side():
    core, dice = make(), rng(7)
    a, w = whole(dice, 2, 11), whole(dice, 11, 24)
    put_bf16(core, 0, a, 32)
    put_bf16(core, 0x1000, w, 48)
    fields = {"astride": 32, "w": 0x1000, "wstride": 48, "wpanel": 16, "m": 2, "k": 11, "n": 24}
    execute(core, Op("matmul", fields))
    got = core.acc[:6].reshape(3, 2, 8).transpose(1, 0, 2).reshape(2, 24)
    assert np.array_equal(got, a @ w)
