"""Requests for one HBM pseudo-channel: streams, random places, one bank again and again."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from isa.hbm import BEAT_BYTES
from isa.hbm_map import HbmMap, Place
from sim.hbm_traffic import REQUEST

Requests = NDArray[np.void]


def stream(
    mapping: HbmMap, count: int, size: int, burst: int, dice: np.random.Generator
) -> Requests:
    """Bursts one behind the other, again from the start where memory ends."""
    return _requests(np.arange(count) * burst % size, burst)


def random(
    mapping: HbmMap, count: int, size: int, burst: int, dice: np.random.Generator
) -> Requests:
    """Bursts anywhere, aligned to their size."""
    return _requests(dice.integers(0, size // burst, count) * burst, burst)


def strided(
    mapping: HbmMap, count: int, size: int, burst: int, dice: np.random.Generator
) -> Requests:
    """Each burst begins in the next row of one bank."""
    rows = np.arange(count, dtype=np.int64) % max(
        1, size // (mapping.bytes // mapping.generation.rows)
    )
    zero = np.zeros(count, np.int64)
    return _requests(mapping.address(Place(zero, zero, zero, rows, zero, zero)), burst)


PATTERNS: dict[str, Callable[..., Requests]] = {
    "stream": stream,
    "random": random,
    "strided": strided,
}


def _requests(addresses: NDArray[np.int64], burst: int) -> Requests:
    requests = np.zeros(len(addresses), REQUEST)
    requests["address"], requests["beats"] = addresses, burst // BEAT_BYTES
    return requests


def mixed(requests: Requests, read_fraction: float, dice: np.random.Generator) -> Requests:
    """Some of the requests become writes, at random."""
    requests["write"] = dice.random(len(requests)) >= read_fraction
    return requests
