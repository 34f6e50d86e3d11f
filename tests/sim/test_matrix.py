"""Matrix unit of the functional simulator, against exact sums."""

import itertools

import ml_dtypes
import numpy as np
import pytest

from isa.formats import ACTIVATIONS, FORMATS, decode, pack
from isa.program import Op
from tests.sim.cores import CONFIGS, TINY, execute, make, put_bf16
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
        fields |= {"wstride": 0x100, "wpanel": 0x100 * config.cols}
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


def stored_formats() -> list[tuple[str, str]]:
    return [(e, name) for name, entry in FORMATS.items() for e in entry.arrays]


def easy_codes(name: str, dice: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Codes of multiples of 1/4 up to 16: all sums of their products are exact in fp32."""
    if name == "bf16":
        values = dice.integers(-64, 65, shape) / 4
        return values.astype(np.float32).astype(ml_dtypes.bfloat16).view(np.uint16)
    values = decode(name, np.arange(1 << FORMATS[name].bits, dtype=np.uint8)).astype(np.float64)
    with np.errstate(invalid="ignore"):
        easy = np.flatnonzero((values * 4 == np.rint(values * 4)) & (np.abs(values) <= 16))
    return dice.choice(easy, shape).astype(np.uint8)


def easy_scales(name: str, dice: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Codes of 1/2, 1, 2, 4."""
    powers = dice.integers(-1, 3, shape)
    if FORMATS[name].scale == "e8m0":
        return (powers + 127).astype(np.uint8)
    kind = ml_dtypes.bfloat16 if FORMATS[name].scale == "bf16" else ml_dtypes.float8_e4m3fn
    codes = np.exp2(powers).astype(np.float32).astype(kind)
    return codes.view(np.uint16 if codes.itemsize == 2 else np.uint8)


def put(core, address: int, data: np.ndarray) -> None:
    raw = np.ascontiguousarray(data).view(np.uint8).reshape(-1)
    core.sram[address : address + raw.size] = raw


@pytest.mark.parametrize(("element", "wf"), stored_formats())
@pytest.mark.parametrize("layout", ["normal", "transposed"])
@pytest.mark.parametrize(("rows", "cols"), [(8, 8), (4, 16), (64, 8)])
@pytest.mark.parametrize(("m", "k", "n"), [(2, 70, 21), (3, 33, 5)])
def test_stored_formats(element, wf, layout, rows, cols, m, k, n):
    """Exact sums in float64 of what ml_dtypes and plain integers say that the codes mean."""
    line = 128
    sizes = {"rows": rows, "cols": cols, "lanes": 4, "line_bytes": line, "element": element}
    core, dice = make(TINY.replace(name="chip", **sizes)), rng(8)
    entry, panels = FORMATS[wf], -(-n // cols)
    af = ACTIVATIONS[element][0]
    a_codes, w_codes = easy_codes(af, dice, (m, k)), easy_codes(wf, dice, (k, panels * cols))
    a, w = decode(af, a_codes).astype(np.float64), decode(wf, w_codes).astype(np.float64)
    astride, wpanel, head = 0x100, 0x3000, 0
    for i in range(m):
        put(core, i * astride, a_codes[i])
    if entry.block:
        scales = easy_scales(wf, dice, (-(-k // entry.block), panels * cols))
        w *= np.repeat(decode(entry.scale, scales).astype(np.float64), entry.block, axis=0)[:k]
        for j in range(panels):
            put(core, 0x8000 + j * wpanel, scales[:, j * cols : (j + 1) * cols])
        head = -(-scales[:, :cols].nbytes // line) * line
    wstride = 0x100 if layout == "transposed" else 2 * cols
    for j in range(panels):
        part = w_codes[:, j * cols : (j + 1) * cols]
        for index, row in enumerate(part.T if layout == "transposed" else part):
            row = np.concatenate([row, row[:1]]) if row.size % 2 and entry.bits == 4 else row
            put(core, 0x8000 + j * wpanel + head + index * wstride, pack(wf, row))
    fields = {"a": 0, "astride": astride, "w": 0x8000, "wstride": wstride, "wpanel": wpanel}
    fields |= {"m": m, "k": k, "n": n, "layout": layout, "af": af, "wf": wf}
    core.acc[:] = 0
    execute(core, Op("matmul", fields))
    got = core.acc[: m * panels].reshape(panels, m, cols).transpose(1, 0, 2).reshape(m, -1)
    wanted = (a @ w) * (np.arange(panels * cols) < n)
    assert np.array_equal(got, wanted)
    assert np.abs(wanted).max() > 100


def test_int8_sums_wrap_and_accumulate():
    core = make(TINY.replace(name="whole", element="int8"))
    core.sram[:256] = 0x80  # -128
    core.acc[:] = 0x7FFFFFFF - 16384 * 4
    fields = {
        "astride": 8,
        "wstride": 8,
        "wpanel": 64,
        "m": 1,
        "k": 8,
        "n": 8,
        "mode": "accumulate",
    }
    execute(core, Op("matmul", fields | {"af": "i8", "wf": "i8"}))
    assert core.acc.dtype == np.int32
    assert core.acc[0].tolist() == [0x7FFFFFFF - 16384 * 4 + 16384 * 8 - (1 << 32)] * 8
    moved = {"dst": 0x1000, "a": 0, "at": "acc", "rows": 1, "cols": 8}
    execute(core, Op("vmov", moved))
    got = core.sram[0x1000:0x1020].view(np.float32)
    assert got.tolist() == core.acc[0].astype(np.float64).astype(np.float32).tolist()
