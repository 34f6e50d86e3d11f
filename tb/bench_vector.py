"""Bench of the vector unit: random instructions against `isa`, with random refusals.

Parameters: `config` (of `ChipConfig.to_dict`), `commands` (0: long ones, with `longest` those of
65,536 rows and 2^20 columns too), `refusal`, `outliers`.
"""

import random

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge, Timer

from isa.config import ChipConfig
from tb.agents import reset
from tb.runner import bench_parameters
from tb.vector_coverage import PORTS, declare, observe
from tb.vector_reference import Command, State
from tb.vector_stimulus import all_types, fill, long_commands, random_operands
from tb.vector_surroundings import Surroundings

_LIMIT = 1_000_000  # cycles that no instruction of the bench needs


async def _execute(dut, world: Surroundings, command: Command) -> None:
    world.issue(command)
    for _ in range(_LIMIT):
        for name, value in world.inputs().items():
            getattr(dut, name).value = value
        await Timer(1, "ns")  # lets outputs that depend on inputs settle
        world.outputs({name: int(getattr(dut, name).value) for name in world.OUTPUTS})
        await FallingEdge(dut.clk)
        if world.done:
            return
    raise AssertionError(f"{command}: not done after {_LIMIT} cycles")


@cocotb.test()
async def random_instructions(dut) -> None:
    """After each instruction every byte of the SRAM is as `isa` defines it."""
    sizes = bench_parameters()
    config = ChipConfig.from_dict(sizes["config"], "bench")
    dice = np.random.default_rng(random.getrandbits(32))
    expected = State(config)
    world = Surroundings(State(config), sizes["refusal"], random.getrandbits(32))
    await reset(dut)
    cover, types = declare(), all_types()
    dice.shuffle(types)
    commands = (
        random_operands(dice, config, types[i % len(types)]) for i in range(sizes["commands"])
    )
    for command in commands if sizes["commands"] else long_commands(dice, config, sizes["longest"]):
        fill(dice, expected, command, sizes["outliers"])
        world.state.sram[:], world.state.acc[:] = expected.sram, expected.acc
        observe(cover, command, config, *expected.execute(command))
        await _execute(dut, world, command)
        wrong = np.flatnonzero(world.state.sram != expected.sram)
        assert not len(wrong), f"{command}: {len(wrong)} bytes differ, first {wrong[0]:#x}"
    for port in PORTS:
        if world.refused[port]:
            cover.hit("refused", port)
    cover.save()
