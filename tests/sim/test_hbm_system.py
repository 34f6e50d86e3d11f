"""The chip on HBM unlike the presets': programs compute the same, devices see no violation."""

from dataclasses import replace

import pytest

from compiler.canonical import canonicalise
from compiler.importer import load_model
from compiler.pipeline import compile_graph
from isa.config import load_config
from isa.hbm import BURST_CYCLES
from sim.backends import RtlBackend, make_backend
from sim.fuzz import make_program
from sim.fuzz_case import compare
from sim.verify import verify
from tests.compiler.models import model_path

# Twice the channels that the port takes, mixed with the row; every field is unlike its default.
OTHER = load_config(
    "tiny,hbm=hbm4,hbm_stacks=2,hbm_channels=2,hbm_depth=16,hbm_refresh=bank,hbm_ecc=none,"
    "hbm_map=row:4 bank^row+2 channel:1 row column:4 channel^row+1 group column:1"
)


@pytest.mark.parametrize("seed", range(12))
def test_random_programs(seed: int):
    _, case = make_program(OTHER, seed, illegal=False)
    assert compare(replace(case, config=OTHER)) is None


def test_a_model_and_what_the_controllers_count():
    name = "exporters/llama/optimum_op18"
    image = compile_graph(canonicalise(load_model(model_path(name)), 32, name), OTHER)
    rtl = RtlBackend()
    runs = list(verify(image, (make_backend("functional"), rtl), 2))
    assert [run.difference for run in runs] == [None] * 3
    hbm, decode = runs[-1].second.hbm, runs[-1].first.counters
    columns = OTHER.line_bytes // 32
    assert hbm["reads"] >= columns * decode["load_lines"]
    assert hbm["writes"] >= columns * decode["store_lines"]
    bursts = sum(count for name, count in hbm.items() if name.startswith("latency"))
    assert hbm["reads"] / 8 <= bursts <= hbm["reads"]  # pieces of 256 bytes at most
    assert hbm["refresh_cycles"] > 0
    beats = BURST_CYCLES * (hbm["reads"] + hbm["writes"])
    assert beats <= OTHER.pseudo_channels * runs[-1].second.cycles
