"""The emitted port in front of several pseudo-channels."""

from pathlib import Path

import pytest

from isa.hbm_map import DEFAULT_MAP
from rtl.hbm_split_reads import SplitReads
from rtl.hbm_split_writes import SplitWrites
from tb.hbm_chips import hbm_config

SIDES = {"read": SplitReads, "write": SplitWrites}
CASES = {
    "one": (16, 1, DEFAULT_MAP),
    "four": (64, 4, "row bank^row column:4 channel^row+1 column:1 group"),
}
STREAMED = (32, 2, DEFAULT_MAP)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("case", CASES)
def test_random_bursts(bench, simulator: str, tmp_path: Path, side: str, case: str) -> None:
    bursts = 150 if simulator == "verilator" else 50
    assert _run(bench, tmp_path, side, CASES[case], f"{side}s", bursts) == 1


@pytest.mark.parametrize("side", SIDES)
def test_stream(bench, tmp_path: Path, side: str) -> None:
    assert _run(bench, tmp_path, side, STREAMED, f"{side}_stream", 0) == 1


def _run(bench, folder: Path, side: str, chip: tuple, testcase: str, bursts: int) -> int:
    axi_bytes, channels, mapping = chip
    config = hbm_config(folder, axi_bytes=axi_bytes, hbm_channels=channels, hbm_map=mapping)
    parameters = {"config": config.to_dict(), "bursts": bursts}
    unit, top = SIDES[side](config), f"hbm_split_{side}s"
    return bench(unit, top, "tb.bench_hbm_split", parameters, testcase=testcase)
