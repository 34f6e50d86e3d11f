"""The emitted guard of an HBM scheduler."""

import pytest

from rtl.hbm_guard import Guard
from tb.hbm_chips import small_generation, to_parameters

# A refresh of one bank that takes about as long as one of all shows more of what there is to count.
TIMES = {"hbm3": {"rfc_ab": 600, "rfc_pb": 540}, "hbm4": {}}


@pytest.mark.parametrize("name", TIMES)
def test_guard(bench, simulator: str, name: str) -> None:
    generation = small_generation(name, **TIMES[name])
    cycles = {"verilator": 50_000, "icarus": 9000}[simulator]
    parameters = {"generation": to_parameters(generation), "cycles": cycles}
    assert bench(Guard(generation), "hbm_guard", "tb.bench_hbm_guard", parameters) == 1
