"""The emitted HBM controllers at cocotbext-axi's AXI4 master, which knows nothing of this project.

On Icarus only. Its channels sleep until `valid` or `ready` rises, which with Verilator 5.022 and
later may go unnoticed, so that nothing moves any more (its issue 93).
"""

from pathlib import Path

import pytest

from isa.hbm_map import DEFAULT_MAP, HbmMap
from rtl.hbm_controller import HbmController
from rtl.hbm_memory import HbmMemory
from rtl.hbm_split import channel_names
from tb.hbm_chips import hbm_config, small_generation, to_parameters

pytestmark = pytest.mark.only("icarus")
MIXED_MAP = "row bank^row column:4 channel^row+1 column:1 group"


@pytest.mark.parametrize(("stall", "per_bank"), [(0.0, True), (0.4, False)])
def test_controller(bench, stall: float, per_bank: bool) -> None:
    generation = small_generation()
    unit = HbmController(generation, HbmMap(DEFAULT_MAP, generation, 1), 8, per_bank=per_bank)
    parameters = _parameters(HbmMap(DEFAULT_MAP, generation, 1), ["device"])
    parameters |= {"accesses": 100, "most": 8, "stall": stall}
    assert bench(unit, "hbm_controller", "tb.bench_hbm_axi", parameters) == 1


@pytest.mark.parametrize(
    ("axi_bytes", "mapping", "stall"), [(32, DEFAULT_MAP, 0.3), (64, MIXED_MAP, 0.0)]
)
def test_two_channels(bench, tmp_path: Path, axi_bytes: int, mapping: str, stall: float) -> None:
    config = hbm_config(tmp_path, axi_bytes=axi_bytes, hbm_channels=2, hbm_map=mapping)
    parameters = _parameters(config.hbm_mapping, channel_names(config))
    parameters |= {"accesses": 100, "most": 8, "stall": stall}
    assert bench(HbmMemory(config), "hbm_memory", "tb.bench_hbm_axi", parameters) == 1


def _parameters(mapping: HbmMap, names: list[str]) -> dict:
    """What a bench has to know of the memory and of the ports behind which it lies."""
    generation = to_parameters(mapping.generation)
    described = {"generation": generation, "mapping": mapping.text, "channels": mapping.channels}
    return {**described, "names": names}


def test_controller_refuses(bench) -> None:
    generation = small_generation()
    mapping = HbmMap(DEFAULT_MAP, generation, 1)
    parameters = _parameters(mapping, ["device"]) | {"stall": 0.2}
    unit = HbmController(generation, mapping, 8)
    assert bench(unit, "hbm_controller", "tb.bench_hbm_refusals", parameters) == 1


def test_two_channels_refuse(bench, tmp_path: Path) -> None:
    """Pieces that would lie in memory are refused with those of the same burst that do not."""
    config = hbm_config(tmp_path, axi_bytes=32, hbm_channels=2)
    parameters = _parameters(config.hbm_mapping, channel_names(config))
    parameters |= {"stall": 0.2}
    assert bench(HbmMemory(config), "hbm_memory", "tb.bench_hbm_refusals", parameters) == 1
