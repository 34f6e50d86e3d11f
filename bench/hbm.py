"""The HBM controllers of all generations in RTL: latency, bandwidth, and a million random requests.

Every cycle of every run is checked: the device's timing, the order, and all data against a shadow
of the memory (`sim.hbm_traffic`).
"""

from collections.abc import Iterator

import numpy as np
from measure import Line

from isa.hbm import GENERATIONS, HbmGeneration, load_generation
from isa.hbm_map import DEFAULT_MAP, HbmMap
from sim.hbm_bench import Workload, measure as measure_workload
from sim.hbm_bound import random_read_bound
from sim.hbm_traffic import REQUEST, HbmTraffic

REQUESTS = 1_000_000
MEMORY_BYTES = 1 << 25
STREAM_PERCENT, MIXED_PERCENT, BOUND_PERCENT = 97, 72, 90


def measure(quick: bool) -> Iterator[Line]:
    """One pseudo-channel of each generation."""
    for name in GENERATIONS[1:2] if quick else GENERATIONS:
        generation = load_generation(name)
        traffic = HbmTraffic(HbmMap(DEFAULT_MAP, generation, 1))
        yield _latency(traffic, generation)
        yield from _bandwidth(traffic, generation)
        yield _soak(traffic, name, REQUESTS // 50 if quick else REQUESTS)


def _latency(traffic: HbmTraffic, generation: HbmGeneration) -> Line:
    requests = np.zeros(1, REQUEST)
    requests["address"], requests["beats"] = 0x12340, 2
    cycles = traffic.run(requests, MEMORY_BYTES).first[0]
    formula = 5 + generation.timing.rcd_rd + generation.timing.cl
    note = f"5 + tRCD + CL cycles, {cycles * generation.tck_ns:.1f} ns"
    return Line("HBM latency", generation.name, cycles, "cycles", formula, most=True, note=note)


def _bandwidth(traffic: HbmTraffic, generation: HbmGeneration) -> Iterator[Line]:
    refresh = 1 - generation.refresh_fraction
    for pattern, reads, wanted in (
        ("stream", 1.0, STREAM_PERCENT),
        ("stream", 0.0, STREAM_PERCENT),
        ("stream", 0.5, MIXED_PERCENT),
    ):
        found = measure_workload(traffic, Workload(pattern, reads, outstanding=32))
        value = 100 * found.bandwidth_fraction / refresh
        note = f"of (1 - refresh) of the pin rate; {found.gigabytes_per_second} GB/s"
        what = f"{generation.name}, {reads:.0%} reads"
        yield Line("HBM stream", what, value, "%", wanted, note=note)
    found = measure_workload(traffic, Workload("random"))
    bound = random_read_bound(generation, 16)
    value = 100 * found.bandwidth_fraction / bound
    note = f"64 bytes, 16 at a time; {bound:.1%} of the pin rate is the bound (sim/hbm_bound.py)"
    yield Line("HBM random reads", generation.name, value, "% of bound", BOUND_PERCENT, note=note)
    found = measure_workload(traffic, Workload("strided"))
    cycles = 2 / found.bandwidth_fraction * (1 - found.refresh_fraction)
    note = f"rows of one bank; tRC is {generation.timing.rc}, refreshes taken off"
    yield Line("HBM one bank", generation.name, cycles, "cycles a row", note=note)


def _soak(traffic: HbmTraffic, name: str, count: int) -> Line:
    """Reads and writes of 1 to 4 beats on few pages, some of single bytes, several ids."""
    dice = np.random.default_rng(1)
    requests = np.zeros(count, REQUEST)
    beats = dice.integers(1, 5, count)
    page = dice.integers(0, MEMORY_BYTES // 4096, 64)[dice.integers(0, 64, count)] * 4096
    requests["address"] = page + 16 * dice.integers(0, 256 - beats)
    requests["beats"] = beats
    requests["id"] = dice.integers(0, 4, count)
    requests["write"] = dice.integers(0, 2, count)
    requests["partial"] = dice.integers(0, 2, count)
    outcome = traffic.run(requests, MEMORY_BYTES, stall=100)
    note = f"{outcome.cycles:,} cycles, {outcome.counters['ref_all']} refreshes, nothing wrong"
    return Line("HBM random traffic", name, count, "requests", count, note=note)
