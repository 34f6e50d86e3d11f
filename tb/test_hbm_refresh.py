"""The emitted refreshes of an HBM scheduler, with times that make many of them due soon."""

import pytest

from rtl.hbm_refresh import Refresh
from tb.hbm_chips import small_generation, to_parameters

SHORT = {"rcd_rd": 8, "rcd_wr": 8, "rp": 8, "ras": 20, "rc": 30, "wr": 8}
SHORT |= {"rfc_ab": 60, "rfc_pb": 30, "refi": 470}


@pytest.mark.parametrize(("per_bank", "postpone"), [(False, 7), (True, 7), (True, 1)])
def test_refresh(bench, simulator: str, per_bank: bool, postpone: int) -> None:
    generation = small_generation(**SHORT)
    cycles = {"verilator": 15_000, "icarus": 9000}[simulator]
    parameters = {"generation": to_parameters(generation), "cycles": cycles}
    parameters |= {"per_bank": per_bank, "postpone": postpone}
    unit = Refresh(generation, per_bank, postpone)
    assert bench(unit, "hbm_refresh", "tb.bench_hbm_refresh", parameters) == 1
