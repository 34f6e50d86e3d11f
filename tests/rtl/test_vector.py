"""Whole instructions of the vector unit against `isa.numbers` and `isa.special`."""

import numpy as np
import pytest

from isa.config import ChipConfig, load_config
from rtl.vector import VectorUnit
from tb.vector_reference import MNEMONICS, Command, State
from tb.vector_stimulus import Surroundings, fill, random_command
from tests.support import rng, simulate

SMALL = load_config("tiny").replace(sram_bytes=1 << 13, acc_rows=64)
CONFIGS = {
    "tiny": SMALL,
    "many vectors a line": SMALL.replace(lanes=4, line_bytes=64),
    "two lanes": SMALL.replace(lanes=2, rows=4, acc_rows=16),
}


def execute(
    config: ChipConfig, commands: list[Command], refusal: float, outliers: float = 0.02
) -> list[Surroundings]:
    """Run commands one after another, comparing the SRAM after each; returns what was counted."""
    dut, expected, dice = VectorUnit(config), State(config), rng(17)
    world = Surroundings(State(config), refusal, seed=18)
    counted = []

    ports = {"_".join(path): value for path, _, value in dut.signature.flatten(dut)}
    ports["command_payload"] = dut.command.payload.as_value()

    async def bench(ctx) -> None:
        for command in commands:
            fill(dice, expected, command, outliers)
            world.state.sram[:], world.state.acc[:] = expected.sram, expected.acc
            expected.execute(command)
            world.issue(command)
            while not world.done:
                for name, value in world.inputs().items():
                    ctx.set(ports[name], value)
                world.outputs({name: ctx.get(ports[name]) for name in world.OUTPUTS})
                await ctx.tick()
            wrong = np.flatnonzero(world.state.sram != expected.sram)
            assert not len(wrong), f"{command}: {len(wrong)} bytes differ, first {wrong[0]:#x}"
            assert world.vectors == command.rows * -(-command.cols // config.lanes)
            counted.append((world.cycles, world.reads))

    simulate(dut, bench, limit=1_000_000)
    return counted


@pytest.mark.parametrize("mnemonic", MNEMONICS)
@pytest.mark.parametrize("refusal", [0.0, 0.4])
def test_every_instruction(mnemonic: str, refusal: float) -> None:
    dice = rng(21)
    execute(SMALL, [random_command(dice, SMALL, mnemonic) for _ in range(15)], refusal)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration(name: str) -> None:
    config, dice = CONFIGS[name], rng(22)
    execute(config, [random_command(dice, config) for _ in range(120)], 0.2, outliers=0.1)


def test_one_lane() -> None:
    config, dice = SMALL.replace(lanes=1), rng(23)
    execute(config, [random_command(dice, config) for _ in range(40)], 0.2)


def test_causal_mask_of_many_rows() -> None:
    """Rows that are masked from the first element on, in part, and not at all."""
    value = int(np.array(-np.inf, np.float32).view(np.uint32))
    commands = [
        Command("vmask", 30, 21, 0x1000, 96, 0, 96, b=value, rep=rep, dt=dt)
        for rep, dt in [(0, "f32"), (1, "f32"), (5, "bf16"), (65535, "f32")]
    ]
    execute(SMALL, commands, 0.0)


TIMED = {
    "vadd": (Command("vadd", 4, 40, 0x1000, 160, 0, 160, 0x800, 160), 20 + 6, 40),
    "broadcast row": (Command("vmul", 4, 40, 0x1000, 160, 0, 160, 0x800, bt="col"), 20 + 6, 21),
    "bf16": (Command("vmov", 4, 40, 0x1000, 160, 0, 96, at="bf16"), 20 + 6, 12),
    "vexp2": (Command("vexp2", 4, 40, 0x1000, 160, 0, 160), 20 + 8, 20),
    "vsum": (Command("vsum", 4, 40, 0x1000, 32, 0, 160), 20 + 4 * 3 + 6, 20),
    "vrot": (Command("vrot", 4, 40, 0x1000, 160, 0, 160, rep=24), 20 + 3 + 6, 20),
    "one vector": (Command("vmov", 1, 8, 0x1000, 32, 0, 32, at="acc"), 1 + 6, 1),
}


@pytest.mark.parametrize("name", TIMED)
def test_cycles_and_reads(name: str) -> None:
    """One vector a cycle; a line with several vectors is read once."""
    command, cycles, reads = TIMED[name]
    assert execute(SMALL, [command], 0.0) == [(cycles, reads)]
