"""Vocabulary shared by the tests: generators, simulation, streams, benches."""

import random
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Elaboratable
from amaranth.sim import Simulator

from tb.build import SIMULATORS, why_unavailable

ROOT = Path(__file__).parents[1]


def rng(seed: int) -> np.random.Generator:
    """A seeded generator; the seed is printed, so that a failure shows it."""
    print(f"seed {seed}")
    return np.random.default_rng(seed)


def simulate(
    dut: Elaboratable, *testbenches: Callable[..., Awaitable], limit: int = 100_000
) -> None:
    """Run async testbenches (each takes `ctx`) to their ends on Amaranth's simulator.

    The clock's period is 1 µs. Raises AssertionError when one still runs after `limit` cycles.
    """
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for bench in testbenches:
        simulator.add_testbench(bench)
    for _ in range(2 * limit + 2):  # two clock edges to a cycle
        if not simulator.advance():
            return
    raise AssertionError(f"still running after {limit} cycles")


async def put(ctx, stream, payloads: Iterable, stall: float = 0.0, seed: int = 0) -> None:
    """Send payloads into a valid/ready stream; before each, idle with probability `stall`."""
    dice = random.Random(seed)
    for payload in payloads:
        while dice.random() < stall:
            await ctx.tick()
        ctx.set(stream.payload, payload)
        ctx.set(stream.valid, 1)
        await ctx.tick().until(stream.ready)
        ctx.set(stream.valid, 0)


async def take(ctx, stream, count: int, stall: float = 0.0, seed: int = 0) -> list:
    """Receive `count` payloads of a stream; before each, idle with probability `stall`."""
    dice = random.Random(seed)
    payloads = []
    while len(payloads) < count:
        while dice.random() < stall:
            await ctx.tick()
        ctx.set(stream.ready, 1)
        (payload,) = await ctx.tick().sample(stream.payload).until(stream.valid)
        payloads.append(payload)
        ctx.set(stream.ready, 0)
    return payloads


def require_simulator(simulator: str) -> None:
    """Skip the calling test, with the reason, where benches cannot run on `simulator`."""
    reason = why_unavailable(simulator)
    if reason is not None:
        pytest.skip(reason)


__all__ = ["ROOT", "SIMULATORS", "put", "require_simulator", "rng", "simulate", "take"]
