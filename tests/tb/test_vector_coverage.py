"""The classes of the vector unit's coverage, on values whose class is known."""

import numpy as np
import pytest

from isa import formats
from tb import vector_coverage
from tb.vector_reference import MNEMONICS, Command
from tb.vector_stimulus import all_types


@pytest.mark.parametrize(
    ("dt", "value", "case"),
    [
        ("i8", 3.0, "exact"),
        ("i8", -2.5, "tie to even below"),
        ("i8", 3.5, "tie to even above"),
        ("i8", 0.499, "below"),
        ("i8", 127.5, "too big"),
        ("e4m3", 2.0**-10, "tie to even below"),  # half of the least subnormal number
        ("e4m3", 17.0, "tie to even below"),
        ("e4m3", 19.0, "tie to even above"),
        ("e4m3", 449.0, "too big"),
        ("e5m2", 2.0**-17 * 1.25, "above"),
        ("e5m2", np.inf, "too big"),
        ("bf16", 1 + 2.0**-8, "tie to even below"),
        ("bf16", 1 + 2.0**-9, "below"),
    ],
)
def test_roundings(dt: str, value: float, case: str) -> None:
    (found,) = vector_coverage.roundings(dt, np.array([value], np.float32))
    assert vector_coverage.ROUNDING[found] == case


@pytest.mark.parametrize("dt", ["i8", "e4m3", "e5m2"])
def test_only_exact_results_come_back(dt: str) -> None:
    values = np.linspace(-30, 30, 4001, dtype=np.float32)
    same = formats.decode(dt, formats.quantise(dt, values)) == values
    assert ((vector_coverage.roundings(dt, values) == 0) == same).all()


@pytest.mark.parametrize(
    ("row", "winner"),
    [
        ([1, 2, 3], "one"),
        ([3, 3, 1], "tie in a vector"),
        ([3, 1, 1, 1, 3], "tie of vectors"),
        ([-1, 0.0, -0.0], "zeros of both signs"),
        ([np.nan, np.inf], "NaN"),
        ([np.nan, np.nan], "two NaNs"),
    ],
)
def test_winners(row: list[float], winner: str) -> None:
    assert vector_coverage.winner(np.array(row, np.float32), lanes=4) == winner


def test_every_combination_of_types_has_a_bin() -> None:
    cover = vector_coverage.declare()
    for mnemonic, dt, at, bt in all_types():
        names = {"vargmax": ["types of vargmax"]}.get(mnemonic)
        pair = mnemonic in ("vadd", "vsub", "vmul", "vmax", "vmin")
        (point,) = names or ["types of pairs" if pair else "types"]
        cover.hit(point, *([at] if names else [mnemonic, dt, at] + [bt] * pair))
    for point in ("types", "types of pairs", "types of vargmax"):
        assert not cover.points[point].missing()
    assert {entry[0] for entry in all_types()} == set(MNEMONICS)


def test_a_limit_of_vmaskl_has_a_sign() -> None:
    assert vector_coverage.limit(Command("vmaskl", 1, 8, rep=0xFFFF)) == "negative"
    assert vector_coverage.limit(Command("vmask", 1, 8, rep=0xFFFF)) == "behind row 0"
