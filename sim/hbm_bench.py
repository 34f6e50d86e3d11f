"""What an HBM controller in RTL delivers: bandwidth and latency, of patterns and of loads."""

from dataclasses import asdict, dataclass

import numpy as np

from isa.hbm import BANKS, BEAT_BYTES, COLUMN_BYTES
from sim.hbm_bound import random_read_bound
from sim.hbm_patterns import PATTERNS, mixed
from sim.hbm_traffic import HbmTraffic, Outcome

BURST_BYTES = {"stream": 256, "random": 64, "strided": COLUMN_BYTES}
LOADS = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
MEMORY_BYTES = 1 << 25  # that the patterns touch
_QUEUED = 256  # requests under way where load, not their number, is given


@dataclass(frozen=True)
class Measured:
    """One run. Fractions are of the pin rate; ``refresh_fraction``: of all banks' time, what went
    to refreshes; in a short run less than tRFC / tREFI, as they can be postponed.
    ``latency_ns``: mean, from a request to its last beat (of reads; if there are none, to the
    responses of writes). ``load``: what was asked for, of the pin rate; None: as much as possible.
    """

    generation: str
    pattern: str
    read_fraction: float
    bandwidth_fraction: float
    refresh_fraction: float
    latency_ns: float
    gigabytes_per_second: float
    row_hit_fraction: float
    load: float | None = None
    bound_fraction: float | None = None  # of random reads, `sim.hbm_bound`

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True)
class Workload:
    """``burst`` in bytes, 0 for the pattern's usual; ``outstanding`` requests of each direction.

    Raises ValueError where pattern or burst make no sense.
    """

    pattern: str
    read_fraction: float = 1.0
    requests: int = 20_000
    burst: int = 0
    outstanding: int = 16
    seed: int = 1

    def __post_init__(self) -> None:
        if self.pattern not in PATTERNS:
            names = ", ".join(PATTERNS)
            raise ValueError(f"pattern must be one of {names}, not {self.pattern!r}")
        size = self.burst_bytes
        if size % BEAT_BYTES or not BEAT_BYTES <= size <= 4096 or size & (size - 1):
            limits = f"a power of two from {BEAT_BYTES} to 4096"
            raise ValueError(f"burst must be {limits}, not {size}")

    @property
    def burst_bytes(self) -> int:
        """Of each request."""
        return self.burst or BURST_BYTES[self.pattern]


def measure(traffic: HbmTraffic, work: Workload, load: float | None = None) -> Measured:
    """Run a workload. Raises TrafficError."""
    burst = work.burst_bytes
    dice = np.random.default_rng(work.seed)
    requests = PATTERNS[work.pattern](traffic.mapping, work.requests, MEMORY_BYTES, burst, dice)
    requests = mixed(requests, work.read_fraction, dice)
    most = work.outstanding
    if load is not None:
        gaps = dice.exponential(burst / BEAT_BYTES / load, len(requests))
        requests["not_before"], most = np.cumsum(gaps).astype(np.uint64), _QUEUED
    outcome = traffic.run(requests, MEMORY_BYTES, most, most, seed=work.seed)
    waited = outcome.last - outcome.issued
    if load is not None:
        waited = outcome.last - requests["not_before"]
    reads = requests["write"] == 0
    latency = float((waited[reads] if reads.any() else waited).mean())
    return _measured(traffic, work, outcome, latency, load)


def _measured(
    traffic: HbmTraffic, work: Workload, outcome: Outcome, latency: float, load: float | None
) -> Measured:
    generation, counters = traffic.mapping.generation, outcome.counters
    share, timing = counters["data_cycles"] / outcome.cycles, generation.timing
    refreshing = counters["ref_all"] * timing.rfc_ab + counters["ref_bank"] * timing.rfc_pb / BANKS
    return Measured(
        generation.name,
        work.pattern,
        work.read_fraction,
        round(share, 4),
        round(refreshing / outcome.cycles, 4),
        round(latency * generation.tck_ns, 1),
        round(share * generation.peak_bytes_per_second / 1e9, 2),
        round(counters["row_hits"] / max(1, counters["rd"] + counters["wr"]), 4),
        load,
        _bound(traffic, work, load),
    )


def _bound(traffic: HbmTraffic, work: Workload, load: float | None) -> float | None:
    burst = work.burst_bytes
    if work.pattern != "random" or work.read_fraction < 1 or load or burst > 2 * COLUMN_BYTES:
        return None
    generation = traffic.mapping.generation
    return round(random_read_bound(generation, work.outstanding, burst, traffic.per_bank), 4)
