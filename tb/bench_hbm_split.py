"""Bench of the chip's port in front of several pseudo-channels, which answer when they like.

Parameters: `config` (of `ChipConfig.to_dict`), `bursts`; `testcase` says which half, and whether
its pace is measured.
"""

import cocotb

from isa.config import ChipConfig
from isa.hbm import BEAT_BYTES
from tb.hbm_split_ends import Half, Reads, Writes
from tb.memory_agents import PAGE_BYTES
from tb.runner import bench_parameters


def _half(make: type, dut, stall: float | None) -> Half:
    return make(dut, ChipConfig.from_dict(bench_parameters()["config"], "bench"), stall)


async def _random(make: type, dut) -> None:
    half = _half(make, dut, None)
    await half.run_all(half.random_bursts(bench_parameters()["bursts"]))
    half.cover.save()


async def _stream(make: type, dut) -> None:
    """A beat of the port in nearly every cycle, if the channels together have as much."""
    half = _half(make, dut, 0.0)
    bursts = half.stream()
    beats = sum(burst.beats for burst in bursts)
    cycles = await half.run_all(bursts)
    assert cycles <= beats + 2 * PAGE_BYTES // BEAT_BYTES, f"{beats} beats took {cycles} cycles"


@cocotb.test()
async def reads(dut) -> None:
    """Every beat in the order of the requests; an error where any of its parts has one."""
    await _random(Reads, dut)


@cocotb.test()
async def writes(dut) -> None:
    """Every beat at its channel; an answer for each burst, an error where any piece has one."""
    await _random(Writes, dut)


@cocotb.test()
async def read_stream(dut) -> None:
    """Whole pages at full pace."""
    await _stream(Reads, dut)


@cocotb.test()
async def write_stream(dut) -> None:
    """Whole pages at full pace."""
    await _stream(Writes, dut)
