"""Load and store DMA against a byte-wise model, with stalls on all sides."""

import random

import pytest

from isa.config import HBM_ATOM_BYTES, load_config
from rtl.dma_load import LoadDma
from rtl.dma_store import StoreDma
from tests.axi_model import ReadModel, WriteModel
from tests.support import simulate

MEMORY_BYTES = 1 << 16
LIMIT = 20_000


def _config(axi_bytes: int):
    return load_config("tiny").replace(
        hbm="", axi_bytes=axi_bytes, sram_bytes=1 << 14, burst_beats=8
    )


def _commands(config, seed: int, count: int) -> list[dict[str, int]]:
    """Random copies inside both memories; HBM rows start anywhere, so that bursts meet 4 KiB."""
    dice, line = random.Random(seed), config.line_bytes
    commands = []
    for _ in range(count):
        rows, length = dice.randint(1, 7), line * dice.choice([1, 2, 3, 21])
        commands.append(
            {
                "rows": rows,
                "bytes": length,
                "hbm": dice.randrange(300),
                "hstride": -(-length // HBM_ATOM_BYTES) + dice.randrange(4),
                "sram": line * dice.randrange(60),
                "sstride": length + line * dice.randrange(4),
            }
        )
    return commands


def _rows(command):
    """(HBM byte, SRAM byte) of each row."""
    for row in range(command["rows"]):
        hbm = HBM_ATOM_BYTES * (command["hbm"] + row * command["hstride"])
        yield hbm, command["sram"] + row * command["sstride"]


async def _issue(ctx, dut, command, cycle) -> int:
    """Run one command; `cycle` is awaited for each clock cycle. Returns the cycles it took."""
    for name, value in command.items():
        ctx.set(getattr(dut.command.payload, name), value)
    ctx.set(dut.command.valid, 1)
    for spent in range(LIMIT):
        accepted, done = await cycle(ctx)
        if accepted:
            ctx.set(dut.command.valid, 0)
        if done:
            return spent
    raise AssertionError(f"not done after {LIMIT} cycles: {command}")


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("axi_bytes", [8, 32])
def test_load_copies_rows(axi_bytes, stall):
    config = _config(axi_bytes)
    dut, dice = LoadDma(config), random.Random(7)
    hbm, sram = dice.randbytes(MEMORY_BYTES), bytearray(config.sram_bytes)
    expected = bytearray(config.sram_bytes)
    model = ReadModel(dut.memory, hbm, axi_bytes, latency=9, stall=stall)

    async def cycle(ctx):
        model.drive(ctx)
        ctx.set(dut.port.ready, dice.random() >= stall)
        model.sample(ctx)
        if ctx.get(dut.port.valid) and ctx.get(dut.port.ready):
            start = ctx.get(dut.port.addr) * config.line_bytes
            data = ctx.get(dut.port.data).to_bytes(config.line_bytes, "little")
            sram[start : start + config.line_bytes] = data
        outcome = ctx.get(dut.command.valid & dut.command.ready), ctx.get(dut.done)
        await ctx.tick()
        return outcome

    async def bench(ctx):
        for command in _commands(config, seed=3, count=12):
            await _issue(ctx, dut, command, cycle)
            for source, target in _rows(command):
                expected[target : target + command["bytes"]] = hbm[source:][: command["bytes"]]
            assert sram == expected, command
        assert 1 < model.most <= config.load_bursts

    simulate(dut, bench)


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("axi_bytes", [8, 32])
def test_store_copies_rows(axi_bytes, stall):
    config = _config(axi_bytes)
    dut, dice = StoreDma(config), random.Random(8)
    sram, hbm = dice.randbytes(config.sram_bytes), bytearray(MEMORY_BYTES)
    expected = bytearray(MEMORY_BYTES)
    model = WriteModel(dut.memory, hbm, axi_bytes, latency=9, stall=stall)

    async def cycle(ctx):
        model.drive(ctx)
        ctx.set(dut.port.ready, dice.random() >= stall)
        model.sample(ctx)
        accepted = ctx.get(dut.port.valid & dut.port.ready)
        line = ctx.get(dut.port.addr) * config.line_bytes
        outcome = ctx.get(dut.command.valid & dut.command.ready), ctx.get(dut.done)
        await ctx.tick()
        data = sram[line : line + config.line_bytes] if accepted else b""
        ctx.set(dut.port.data, int.from_bytes(data, "little"))  # this cycle only
        return outcome

    async def bench(ctx):
        for command in _commands(config, seed=4, count=12):
            await _issue(ctx, dut, command, cycle)
            for target, source in _rows(command):
                expected[target : target + command["bytes"]] = sram[source:][: command["bytes"]]
            assert hbm == expected, command
            assert not model.responses, "done before memory has acknowledged"

    simulate(dut, bench)


def test_load_sustains_a_beat_per_cycle():
    """Rows of one burst follow each other without a gap while enough bursts are in flight."""
    config = _config(32).replace(load_bursts=6)
    dut = LoadDma(config)
    model = ReadModel(dut.memory, bytes(MEMORY_BYTES), 32, latency=30, stall=0.0)

    async def cycle(ctx):
        model.drive(ctx)
        ctx.set(dut.port.ready, 1)
        model.sample(ctx)
        outcome = ctx.get(dut.command.valid & dut.command.ready), ctx.get(dut.done)
        await ctx.tick()
        return outcome

    async def bench(ctx):
        command = {"hbm": 0, "hstride": 4, "sram": 0, "sstride": 256, "rows": 32, "bytes": 256}
        cycles = await _issue(ctx, dut, command, cycle)
        assert cycles <= 32 * 8 + 30 + 6

    simulate(dut, bench)
