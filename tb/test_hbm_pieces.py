"""The emitted cutting of bursts: channels alternate by beats, by pieces, and not at all."""

from pathlib import Path

import pytest

from isa.hbm_map import DEFAULT_MAP
from rtl.axi import ID_BITS
from rtl.hbm_pieces import Pieces
from tb.hbm_chips import hbm_config

CASES = {
    "one channel": (16, 1, DEFAULT_MAP, 0.4),
    "mixed with rows": (64, 4, "row bank^row column:4 channel^row+1 column:1 group", 0.4),
    "by beats": (32, 2, "row bank column group channel", 0.0),
}


@pytest.mark.parametrize("case", CASES)
def test_random_bursts(bench, simulator: str, tmp_path: Path, case: str) -> None:
    axi_bytes, channels, mapping, stall = CASES[case]
    config = hbm_config(tmp_path, axi_bytes=axi_bytes, hbm_channels=channels, hbm_map=mapping)
    bursts = 200 if simulator == "verilator" else 60
    parameters = {"config": config.to_dict(), "bursts": bursts, "stall": stall}
    assert bench(Pieces(config, ID_BITS), "hbm_pieces", "tb.bench_hbm_pieces", parameters) == 1
