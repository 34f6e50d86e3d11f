"""Vector unit of the functional simulator, against loops over elements, float64 and ml_dtypes."""

import itertools

import ml_dtypes
import numpy as np
import pytest

from isa.program import Op
from sim.functional import FunctionalCore
from tests.sim.cores import CONFIGS, execute, make
from tests.support import rng

DST, A, B = 0x10000, 0x20000, 0x30000


class Operands:
    """Rows of fp32, bf16 or accumulator values at A or B, read element by element."""

    def __init__(self, core: FunctionalCore) -> None:
        self.core = core

    def element(self, kind: str, address: int, stride: int, row: int, col: int) -> float:
        config = self.core.config
        if kind == "acc":
            panel, column = divmod(col, config.cols)
            return float(self.core.acc[address + row + panel * stride, column])
        size = STORED[kind].itemsize
        start = address + row * stride + size * col
        return float(self.core.sram[start : start + size].view(STORED[kind])[0])


STORED = {
    "f32": np.dtype(np.float32),
    "bf16": np.dtype(ml_dtypes.bfloat16),
    "i8": np.dtype(np.int8),
    "e4m3": np.dtype(ml_dtypes.float8_e4m3fn),
    "e5m2": np.dtype(ml_dtypes.float8_e5m2),
}
LARGEST = {"i8": 127, "e4m3": 448, "e5m2": 57344}


def make_for(config, at: str) -> FunctionalCore:
    """A core with numbers of type `at` at A (random bytes hold fp8's infinities and NaNs)."""
    core = make(config)
    if at in LARGEST:
        values = rng(11).normal(0, 40, 0x4000)
        core.sram[A : A + values.size] = stored(values, at).view(np.uint8)
    return core


def stored(values: np.ndarray, dt: str) -> np.ndarray:
    """Finite fp32 values as they are stored: rounded to nearest even, into the range."""
    single = values.astype(np.float32)
    if dt in LARGEST:
        single = np.clip(single, -128 if dt == "i8" else -LARGEST[dt], LARGEST[dt])
    return (np.rint(single) if dt == "i8" else single).astype(STORED[dt])


def in_type(values: np.ndarray, dt: str) -> np.ndarray:
    """fp32 values as they read back from a result of type `dt`."""
    return stored(values, dt).astype(np.float32)


def check_result(core, before, fields: dict, wanted: np.ndarray) -> None:
    """Rows at DST hold `wanted` and zeros up to a whole vector; nothing else has changed."""
    lanes, dt = core.config.lanes, fields.get("dt", "f32")
    vectors = -(-wanted.shape[1] // lanes)
    rows = np.zeros((len(wanted), vectors * lanes), np.float32)
    rows[:, : wanted.shape[1]] = wanted
    expected = before.copy()
    for index, row in enumerate(rows):
        data = stored(row, dt)
        start = DST + index * fields["dstride"]
        expected[start : start + data.nbytes] = data.view(np.uint8)
    assert np.array_equal(core.sram, expected)


def unary_fields(core, rows: int, cols: int, dt: str, at: str) -> dict:
    fields = {"dst": DST, "dstride": 0x300, "a": A, "astride": 0x280, "rows": rows, "cols": cols}
    if at == "acc":
        fields |= {"a": 9, "astride": rows + 2}
    return fields | {"dt": dt, "at": at}


def first_operand(core, fields: dict) -> np.ndarray:
    rows, cols = fields["rows"], fields["cols"]
    read = Operands(core).element
    place = fields["at"], fields["a"], fields["astride"]
    return np.array([[read(*place, r, c) for c in range(cols)] for r in range(rows)])


TYPES = pytest.mark.parametrize(("dt", "at"), list(itertools.product(STORED, [*STORED, "acc"])))
BINARY = {
    "vadd": np.add,
    "vsub": np.subtract,
    "vmul": np.multiply,
    "vmax": np.maximum,
    "vmin": np.minimum,
}


@CONFIGS
@TYPES
@pytest.mark.parametrize("bt", ["f32", "bf16", "col", "scalar"])
def test_binary(config, dt: str, at: str, bt: str):
    for (mnemonic, function), (rows, cols), rep, bstride in zip(
        BINARY.items(),
        [(1, 1), (5, 19), (7, 64), (6, 33), (4, 16)],
        [0, 2, 1, 4, 9],
        [0x200, 0x240, 0, 0x280, 0x200],
        strict=True,
    ):
        core = make_for(config, at)
        fields = unary_fields(core, rows, cols, dt, at)
        scalar = np.float32(-1.375)
        fields |= {"b": B, "bstride": bstride, "rep": rep, "bt": bt}
        if bt == "scalar":
            fields["b"] = int(scalar.view(np.uint32))
        before, a = core.sram.copy(), first_operand(core, fields)
        b = np.zeros_like(a)
        for r, c in np.ndindex(a.shape):
            if bt == "scalar":
                b[r, c] = scalar
            else:
                kind, col = ("f32", 0) if bt == "col" else (bt, c)
                b[r, c] = Operands(core).element(kind, B, bstride, r // max(rep, 1), col)
        counters = execute(core, Op(mnemonic, fields))
        check_result(core, before, fields, in_type(function(a, b), dt))
        assert counters["vector_vectors"] == rows * -(-cols // config.lanes)


@CONFIGS
@TYPES
def test_moves_reductions_masks_and_rotations(config, dt: str, at: str):
    lanes = config.lanes

    def check(mnemonic: str, rows: int, cols: int, function, **more: int) -> None:
        core = make_for(config, at)
        fields = unary_fields(core, rows, cols, dt, at) | more
        before, a = core.sram.copy(), first_operand(core, fields)
        execute(core, Op(mnemonic, fields))
        check_result(core, before, fields, in_type(function(a), dt))

    check("vmov", 5, 19, lambda a: a)
    check("vrmax", 5, 2 * lanes + 1, lambda a: a.max(axis=1, keepdims=True))
    check("vabs", 4, 21, np.abs)
    limit = int(np.float32(-7.5).view(np.uint32))
    for rep in (0, 3, 40):
        keep = np.arange(11)[None] < rep + np.arange(6)[:, None]
        check("vmask", 6, 11, lambda a, keep=keep: np.where(keep, a, -7.5), b=limit, rep=rep)
    for start in (-9, -3, 0, 2, 30):
        keep = np.arange(11)[None] >= start + np.arange(6)[:, None]
        rep = start % (1 << 16)
        check("vmaskl", 6, 11, lambda a, keep=keep: np.where(keep, a, -7.5), b=limit, rep=rep)
    check("vrot", 3, lanes - 1, lambda a: np.roll(a, -2, axis=1), rep=2)
    check("vrot", 3, 3 * lanes, lambda a: np.roll(a, -lanes, axis=1), rep=lanes)


@CONFIGS
def test_sums_are_close_to_the_exact_ones(config):
    core = make(config)
    fields = unary_fields(core, 6, 61, "f32", "f32")
    exact = first_operand(core, fields).sum(axis=1)
    execute(core, Op("vsum", fields))
    read = Operands(core).element
    got = [read("f32", DST, 0x300, r, 0) for r in range(6)]
    assert np.allclose(got, exact, atol=2e-5)
    assert all(read("f32", DST, 0x300, r, c) == 0 for r in range(6) for c in range(1, config.lanes))


@pytest.mark.parametrize(
    ("mnemonic", "function"),
    [("vexp2", np.exp2), ("vrecip", lambda x: 1 / x), ("vrsqrt", lambda x: 1 / np.sqrt(x))],
)
def test_special_functions(mnemonic: str, function):
    core = make()
    core.sram[:] = np.abs(core.sram.view(np.float32)).view(np.uint8)
    fields = unary_fields(core, 4, 21, "f32", "f32")
    exact = function(first_operand(core, fields))
    execute(core, Op(mnemonic, fields))
    got = first_operand(core, fields | {"a": DST, "astride": 0x300})
    assert np.allclose(got, exact, rtol=2.0**-23, atol=0)


@CONFIGS
@pytest.mark.parametrize("at", [*STORED, "acc"])
def test_argmax(config, at: str):
    core = make_for(config, at)
    fields = unary_fields(core, 5, 3 * config.lanes + 1, "f32", at)
    exact = first_operand(core, fields).argmax(axis=1)
    execute(core, Op("vargmax", fields))
    rows = core.sram[DST : DST + 5 * 0x300].reshape(5, 0x300)[:, : 4 * config.lanes]
    assert rows.view(np.uint32)[:, 0].tolist() == exact.tolist()
    assert not rows[:, 4:].any()


def test_argmax_of_equals_zeros_and_nans():
    core = make()
    rows = np.zeros((5, 8), np.float32)
    rows[0] = -0.0, 0.0, -0.0, 0.0, -1, -1, -1, -1
    rows[1] = 1, 7, 7, 2, 7, 7, 7, 0
    rows[2] = 5, np.nan, np.inf, -np.nan, 0, 0, 0, 0
    rows[3] = -np.inf
    rows[4] = -1, -2, -3, -0.5, -0.5, -4, -1, -1
    core.sram[A : A + rows.nbytes] = rows.view(np.uint8).reshape(-1)
    fields = {"dst": DST, "dstride": 32, "a": A, "astride": 32, "rows": 5, "cols": 8}
    execute(core, Op("vargmax", fields))
    got = core.sram[DST : DST + 160].view(np.uint32).reshape(5, 8)[:, 0]
    assert got.tolist() == [0, 1, 1, 0, 3]


def test_in_place():
    core = make()
    fields = unary_fields(core, 5, 19, "f32", "f32") | {"dst": A, "dstride": 0x280}
    a = first_operand(core, fields)
    execute(core, *[Op("vadd", fields | {"b": A, "bstride": 0x280})] * 2)
    assert np.array_equal(first_operand(core, fields), a * 4)
