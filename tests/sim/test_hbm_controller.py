"""HBM controllers of every generation in RTL, behind the device model and its timing checker."""

import numpy as np
import pytest

from isa.hbm import GENERATIONS, load_generation
from isa.hbm_map import DEFAULT_MAP, HbmMap
from sim.hbm_bench import Workload, measure
from sim.hbm_bound import random_read_bound
from sim.hbm_patterns import PATTERNS, mixed
from sim.hbm_traffic import REQUEST, HbmTraffic, Outcome, TrafficError

SIZE = 1 << 24
STREAM_BURST, SMALL_BURST = 256, 64


@pytest.fixture(scope="module", params=GENERATIONS)
def traffic(request) -> HbmTraffic:
    return HbmTraffic(HbmMap(DEFAULT_MAP, load_generation(request.param), 1))


def _run(
    traffic: HbmTraffic, pattern: str, count: int, burst: int, reads=1.0, **settings
) -> Outcome:
    dice = np.random.default_rng(3)
    requests = PATTERNS[pattern](traffic.mapping, count, SIZE, burst, dice)
    return traffic.run(mixed(requests, reads, dice), SIZE, **settings)


def _share(traffic: HbmTraffic, outcome: Outcome) -> float:
    """Of the pin rate, less the time that refreshes take."""
    busy = outcome.counters["data_cycles"] / outcome.cycles
    return busy / (1 - traffic.mapping.generation.refresh_fraction)


def test_unloaded_latency_is_the_closed_form(traffic):
    """From the address to the first beat: controller, activation, read."""
    timing = traffic.mapping.generation.timing
    requests = np.zeros(1, REQUEST)
    requests["address"], requests["beats"] = 0x12340, 2
    outcome = traffic.run(requests, SIZE)
    assert outcome.first[0] == 5 + timing.rcd_rd + timing.cl
    assert outcome.last[0] == outcome.first[0] + 1


@pytest.mark.parametrize("reads", [1.0, 0.0])
def test_streams_reach_the_pin_rate(traffic, reads):
    outcome = _run(traffic, "stream", 10_000, STREAM_BURST, reads)
    assert _share(traffic, outcome) >= 0.97
    assert outcome.counters["ref_all"] > 10


def test_mixed_stream(traffic):
    outcome = _run(traffic, "stream", 10_000, STREAM_BURST, 0.5)
    assert _share(traffic, outcome) >= 0.72


def test_random_reads_reach_their_bound(traffic):
    """Of a controller whose only limits are tRC, tRRD, tFAW, latency and order."""
    dice = np.random.default_rng(3)
    requests = PATTERNS["random"](traffic.mapping, 20_000, SIZE, SMALL_BURST, dice)
    outcome = traffic.run(requests, SIZE, reads=16)
    bound = random_read_bound(traffic.mapping.generation, 16)
    share = outcome.counters["data_cycles"] / outcome.cycles
    assert 0.9 * bound <= share <= bound


def test_the_bound_of_reads_one_by_one_is_their_latency():
    """A closed form: an activation, two columns of a row, the last one's two beats."""
    timing = load_generation("hbm3").timing
    each = timing.rcd_rd + timing.cl + timing.ccd_l + 2
    refreshing = load_generation("hbm3").refresh_fraction
    slow = load_generation("hbm3").replace(rc=timing.ras)  # so that no bank is waited for
    assert random_read_bound(slow, 1) == pytest.approx(4 / each * (1 - refreshing), rel=1e-3)


def test_one_bank_takes_trc_for_each_row(traffic):
    outcome = _run(traffic, "strided", 500, 32)
    timing = traffic.mapping.generation.timing
    refreshing = outcome.counters["ref_all"] * timing.rfc_ab
    each = (outcome.cycles - refreshing) / 500
    assert each == pytest.approx(max(timing.rc, timing.ras + timing.rp), rel=0.01)


@pytest.mark.parametrize("per_bank", [False, True])
def test_refreshes_are_a_share_of_the_banks_time(per_bank):
    """Of all banks at once, or of each for itself; up to eight may be ahead or behind."""
    generation = load_generation("hbm3")
    traffic = HbmTraffic(HbmMap(DEFAULT_MAP, generation, 1), per_bank=per_bank)
    found = measure(traffic, Workload("stream", requests=10_000, burst=512))
    timing = generation.timing
    each = timing.rfc_pb if per_bank else timing.rfc_ab
    cycles = 10_000 * 512 / 16 / found.bandwidth_fraction
    slack = 8 * each / cycles
    assert found.refresh_fraction == pytest.approx(each / timing.refi, abs=slack)
    assert slack < 0.2 * each / timing.refi


@pytest.mark.parametrize("stall", [0, 300])
def test_random_traffic_loses_nothing(traffic, stall):
    """Reads and writes of all lengths and alignments, some bytes of beats, several ids."""
    dice = np.random.default_rng(stall)
    requests = np.zeros(8000, REQUEST)
    # Few places, so that accesses meet; beats inside one 4 KiB page.
    page = dice.choice([3, 4, 700, 701, 1500], len(requests)) * 4096
    beats = dice.integers(1, 33, len(requests))
    requests["address"] = page + 16 * dice.integers(0, 256 - beats)
    requests["beats"] = beats
    requests["id"] = dice.integers(0, 4, len(requests))
    requests["write"] = dice.integers(0, 2, len(requests))
    requests["partial"] = dice.integers(0, 2, len(requests))
    outcome = traffic.run(requests, SIZE, stall=stall, seed=stall + 1)
    assert outcome.counters["rd"] > 10_000
    assert outcome.counters["wr"] > 10_000


def test_the_controllers_counters_are_the_devices(traffic):
    """Under random traffic."""
    outcome = _run(traffic, "random", 5000, SMALL_BURST, 0.6)
    events, device = outcome.events, outcome.counters
    names = {"reads": "rd", "writes": "wr", "row_hits": "row_hits", "row_misses": "act"}
    names["turnarounds"] = "turnarounds"
    assert {n: events[n] for n in names} == {n: device[name] for n, name in names.items()}
    assert 0 < events["row_conflicts"] <= device["pre"]
    each = traffic.mapping.generation.timing.rfc_ab
    refreshing = device["ref_all"] * each  # one may be under way at the end
    assert refreshing - each <= events["refresh_cycles"] <= 1.3 * refreshing + each


def test_the_controllers_latencies_are_those_seen_outside(traffic):
    dice = np.random.default_rng(5)
    requests = PATTERNS["random"](traffic.mapping, 2000, SIZE, SMALL_BURST, dice)
    outcome = traffic.run(requests, SIZE, reads=1)
    assert outcome.latencies == int((outcome.last - outcome.issued).sum())


def test_errors_are_found():
    """A device slower than the one the controller was made for."""
    generation = load_generation("hbm3")
    traffic = HbmTraffic(HbmMap(DEFAULT_MAP, generation, 1))
    slower = generation.replace(rcd_rd=generation.timing.rcd_rd + 1)
    traffic.mapping = HbmMap(DEFAULT_MAP, slower, 1)
    requests = np.zeros(1, REQUEST)
    requests["beats"] = 2
    with pytest.raises(TrafficError, match=r"hbm3: tRCD_RD: RD bank 0 .* at least 32"):
        traffic.run(requests, SIZE)
