"""The emitted HBM controllers, one alone and two behind the chip's port."""

from pathlib import Path

import pytest

from isa.hbm_map import DEFAULT_MAP, HbmMap
from rtl.hbm_controller import HbmController
from rtl.hbm_memory import HbmMemory
from rtl.hbm_split import channel_names
from tb.hbm_chips import hbm_config, small_generation, to_parameters

UNUSED = {False: ["PRE", "REFPB"], True: ["PREA", "REFAB"]}  # for refreshes; per bank or not
OFTEN = {"refi": 1600}  # cycles; refreshes come four times as often as they do


@pytest.mark.parametrize(("per_bank", "stall"), [(False, 0.0), (True, None)])
def test_controller(bench, simulator: str, per_bank: bool, stall: float | None) -> None:
    generation = small_generation(**OFTEN)
    mapping = HbmMap(DEFAULT_MAP, generation, 1)
    parameters = _parameters(mapping, ["device"], "hbm_controller", UNUSED[per_bank])
    parameters |= {"bursts": 600 if simulator == "verilator" else 150, "stall": stall}
    parameters["unit"] += "_per_bank" if per_bank else ""
    unit = HbmController(generation, mapping, 8, patience=200, per_bank=per_bank)
    assert bench(unit, "hbm_controller", "tb.bench_hbm_controller", parameters) == 1


def test_two_channels(bench, simulator: str, tmp_path: Path) -> None:
    mapping = "row bank^row column:4 channel^row+1 column:1 group"
    config = hbm_config(tmp_path, hbm_channels=2, hbm_map=mapping, refi=OFTEN["refi"])
    parameters = _parameters(config.hbm_mapping, channel_names(config), "hbm_memory", UNUSED[False])
    parameters |= {"bursts": 300 if simulator == "verilator" else 200, "stall": None}
    assert bench(HbmMemory(config), "hbm_memory", "tb.bench_hbm_controller", parameters) == 1


def _parameters(mapping: HbmMap, names: list[str], unit: str, waived: list[str]) -> dict:
    generation = to_parameters(mapping.generation)
    described = {"generation": generation, "mapping": mapping.text, "channels": mapping.channels}
    return {**described, "names": names, "unit": unit, "waived": waived}
