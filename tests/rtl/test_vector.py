"""Whole instructions of the vector unit against `isa.numbers` and `isa.special`."""

import numpy as np
import pytest
from amaranth.hdl import Value

from isa.config import ChipConfig, load_config
from isa.legal import fault_of
from isa.table import VECTOR
from rtl.vector import VectorUnit
from tb.vector_reference import MNEMONICS, Command, State
from tb.vector_stimulus import fill, random_command
from tb.vector_surroundings import Surroundings
from tests.support import rng, simulate

SMALL = load_config("tiny").replace(sram_bytes=1 << 13, acc_rows=64)
CONFIGS = {
    "tiny": SMALL,
    "many vectors a line": SMALL.replace(lanes=4, line_bytes=64),
    "two lanes": SMALL.replace(lanes=2, rows=4, acc_rows=64),
    "accumulators of integers": SMALL.replace(element="int8"),
}


def execute(
    config: ChipConfig, commands: list[Command], refusal: float, outliers: float = 0.02
) -> list[Surroundings]:
    """Run commands one after another, comparing the SRAM after each; returns what was counted."""
    dut, expected, dice = VectorUnit(config), State(config), rng(17)
    world = Surroundings(State(config), refusal, seed=18)
    counted = []

    ports = _ports(dut)

    async def bench(ctx) -> None:
        for command in commands:
            fill(dice, expected, command, outliers)
            world.state.sram[:], world.state.acc[:] = expected.sram, expected.acc
            expected.execute(command)
            world.issue(command)
            while not world.done:
                await _cycle(ctx, ports, world)
            wrong = np.flatnonzero(world.state.sram != expected.sram)
            assert not len(wrong), f"{command}: {len(wrong)} bytes differ, first {wrong[0]:#x}"
            assert world.vectors == command.rows * -(-command.cols // config.lanes)
            counted.append((world.cycles, world.reads))

    simulate(dut, bench, limit=1_000_000)
    return counted


def _ports(dut: VectorUnit) -> dict[str, Value]:
    ports = {"_".join(path): value for path, _, value in dut.signature.flatten(dut)}
    return ports | {"command_payload": dut.command.payload.as_value()}


async def _cycle(ctx, ports: dict[str, Value], world: Surroundings) -> None:
    for name, value in world.inputs().items():
        ctx.set(ports[name], value)
    world.outputs({name: ctx.get(ports[name]) for name in world.OUTPUTS})
    await ctx.tick()


@pytest.mark.parametrize("mnemonic", MNEMONICS)
@pytest.mark.parametrize("refusal", [0.0, 0.4])
def test_every_instruction(mnemonic: str, refusal: float) -> None:
    dice = rng(21)
    execute(SMALL, [random_command(dice, SMALL, mnemonic) for _ in range(8)], refusal)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_configuration(name: str) -> None:
    config, dice = CONFIGS[name], rng(22)
    execute(config, [random_command(dice, config) for _ in range(60)], 0.2, outliers=0.1)


def test_one_lane() -> None:
    config, dice = SMALL.replace(lanes=1), rng(23)
    execute(config, [random_command(dice, config) for _ in range(40)], 0.2)


def test_random_commands_are_legal() -> None:
    """The unit may rely on what `isa.legal` demands, and so may the stimulus."""
    for config in CONFIGS.values():
        dice = rng(24)
        for _ in range(500):
            command = random_command(dice, config)
            values = tuple(getattr(command, name) for name in VECTOR.slots)
            assert fault_of(config, command.mnemonic, values, 0) is None, command


def test_index_of_the_maximum() -> None:
    """Rows chosen by hand; lane 0 holds an integer, which as fp32 would be a subnormal number."""
    inf, nan = np.inf, np.nan
    rows = {
        (-inf,) * 11: 0,
        (1.0, 5.0, 2.0, 5.0) + (0.0,) * 20: 1,
        (0.0,) * 16 + (7.0,) + (0.0,) * 7 + (7.0,): 16,
        (-0.0,) + (-1.0,) * 7 + (0.0,): 0,
        (-1.0,) * 9 + (-0.0, 0.0): 9,
        (-1.0,) * 9 + (0.0, -0.0): 9,
        (-1.0, 1e-45, 0.0, -1e-45): 1,  # subnormals are zeros
        (inf,) + (3.0,) * 12 + (nan, nan): 13,
        (-nan, inf, nan): 0,
    }
    dut, world = VectorUnit(SMALL), Surroundings(State(SMALL), 0.0, seed=1)
    ports = _ports(dut)

    async def bench(ctx) -> None:
        for row, place in rows.items():
            world.state.write(0, np.array(row, np.float32), "f32")
            world.issue(Command("vargmax", 1, len(row), 0x1000, 32, 0, 160))
            while not world.done:
                await _cycle(ctx, ports, world)
            assert world.state.read(0x1000, 1, "f32").view(np.uint32) == place, row

    simulate(dut, bench)


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
    "e4m3": (Command("vmov", 4, 40, 0x1000, 160, 0, 64, at="e4m3"), 20 + 6, 8),
    "bf16": (Command("vmov", 4, 40, 0x1000, 160, 0, 96, at="bf16"), 20 + 6, 12),
    "vexp2": (Command("vexp2", 4, 40, 0x1000, 160, 0, 160), 20 + 8, 20),
    "vsum": (Command("vsum", 4, 40, 0x1000, 32, 0, 160), 20 + 3 + 6, 20),
    "vargmax": (Command("vargmax", 4, 40, 0x1000, 32, 0, 160), 20 + 3 + 6, 20),
    "vrot": (Command("vrot", 4, 40, 0x1000, 160, 0, 160, rep=24), 20 + 3 + 6, 20),
    "one vector": (Command("vmov", 1, 8, 0x1000, 32, 0, 32, at="acc"), 1 + 6, 1),
}


@pytest.mark.parametrize("name", TIMED)
def test_cycles_and_reads(name: str) -> None:
    """One vector a cycle; a line with several vectors is read once."""
    command, cycles, reads = TIMED[name]
    assert execute(SMALL, [command], 0.0) == [(cycles, reads)]
