"""Load and store DMA against a byte-wise model, with stalls on all sides."""

import random

import pytest

from isa.config import HBM_ATOM_BYTES
from isa.table import BY_MNEMONIC
from rtl.dma_store import StoreDma
from tests.axi_model import WriteModel
from tests.rtl.dma_traffic import (
    CHIPS,
    MEMORY_BYTES,
    Load,
    commands,
    expect_load,
    issue,
    rows_of,
)
from tests.support import simulate

EVERY = pytest.mark.parametrize("config", CHIPS, ids=lambda config: f"axi{config.axi_bytes}")
GATHER = BY_MNEMONIC["gather"].opcode
STALLS = pytest.mark.parametrize("stall", [0.0, 0.4])


@STALLS
@EVERY
def test_load_copies_rows(config, stall):
    load = Load(config, stall=stall)
    expected = bytearray(load.sram)

    async def bench(ctx):
        for command in commands(config, seed=3, count=18):
            await issue(ctx, load.dut, command, load.cycle)
            expect_load(config, expected, load.hbm, command, rows_of(command))
            assert load.sram == expected, command
        assert 1 < load.model.most <= config.load_bursts

    simulate(load.dut, bench)


@STALLS
@EVERY
def test_loads_follow_each_other(config, stall):
    """Each is taken while the one before is written, a gather when nothing is."""
    load, dice = Load(config, stall=stall), random.Random(4)
    expected, overlaps = bytearray(load.sram), 0
    given = commands(config, seed=8, count=24)
    for place in range(0, len(given), 5):
        (given[place],) = commands(config, seed=place, count=1, gather=True)

    async def offer(ctx, command):
        for name, value in command.items():
            ctx.set(getattr(load.dut.command.payload, name), value)
        ctx.set(load.dut.command.valid, 1)

    def taken(command):
        """What it is to copy; the list of a gather is there only from now on."""
        if command["opcode"] != GATHER:
            return command, rows_of(command)
        numbers = [dice.randrange(50) for _ in range(command["rows"])]
        for row, number in enumerate(numbers):
            for memory in (load.sram, expected):
                at = command["hplane"] + 4 * row
                memory[at : at + 4] = number.to_bytes(4, "little")
        return command, rows_of(command, numbers)

    async def bench(ctx):
        nonlocal overlaps
        waiting, at_work, offered = list(given), [], None
        while waiting or offered or at_work:
            if waiting and not offered and dice.random() < 0.8:
                offered = waiting.pop(0)
                await offer(ctx, offered)
            accepted, done = await load.cycle(ctx)
            if done:
                command, rows = at_work.pop(0)
                expect_load(config, expected, load.hbm, command, rows)
                assert load.sram == expected, command
            if accepted:
                ctx.set(load.dut.command.valid, 0)
                at_work.append(taken(offered))
                overlaps += len(at_work) > 1
                assert len(at_work) == 1 or offered["opcode"] != GATHER
                offered = None

    simulate(load.dut, bench)
    assert overlaps >= 5


@STALLS
@EVERY
def test_gather_copies_rows_by_number(config, stall):
    """Between loads, which must not notice."""
    load, dice = Load(config, stall=stall), random.Random(5)
    expected = bytearray(load.sram)

    async def bench(ctx):
        for command in commands(config, seed=6, count=10, gather=True):
            most = (MEMORY_BYTES // HBM_ATOM_BYTES - 320) // command["hstride"]
            numbers = [dice.randrange(most) for _ in range(command["rows"])]
            place = command["hplane"]
            for row, number in enumerate(numbers):
                for memory in (load.sram, expected):
                    memory[place + 4 * row : place + 4 * row + 4] = number.to_bytes(4, "little")
            await issue(ctx, load.dut, command, load.cycle)
            expect_load(config, expected, load.hbm, command, rows_of(command, numbers))
            assert load.sram == expected, command
            (other,) = commands(config, seed=len(load.hbm) + place, count=1)
            await issue(ctx, load.dut, other, load.cycle)
            expect_load(config, expected, load.hbm, other, rows_of(other))
            assert load.sram == expected, other

    simulate(load.dut, bench)


@pytest.mark.parametrize(
    ("hbm", "hstride", "number", "atom"),
    [
        (1, 2, 3, 7),
        (5, (1 << 24) - 1, 256, (1 << 32) - 256 + 5),
        (5, (1 << 24) - 1, 257, (1 << 32) - 1),  # beyond the last atom
        ((1 << 32) - 1, 1, 0xFFFFFFFF, (1 << 32) - 1),
        ((1 << 32) - 2, 1, 2, (1 << 32) - 1),  # would wrap to 0
        (0, 1 << 23, 1 << 9, (1 << 32) - 1),
    ],
)
def test_gathered_addresses_do_not_wrap(hbm, hstride, number, atom):
    """What has too many bits becomes the last atom, which no memory has."""
    load, asked = Load(CHIPS[0]), []
    load.sram[512:516] = number.to_bytes(4, "little")

    async def cycle(ctx):
        if ctx.get(load.dut.memory.request.valid):
            asked.append(ctx.get(load.dut.memory.request.payload.addr))
        return await load.cycle(ctx)

    async def bench(ctx):
        command = {"opcode": BY_MNEMONIC["gather"].opcode, "hbm": hbm, "hstride": hstride}
        command |= {"rows": 1, "bytes": 8, "hplane": 512, "offset": 8}
        await issue(ctx, load.dut, command, cycle)
        assert asked[0] == HBM_ATOM_BYTES * atom + 8

    simulate(load.dut, bench)


def test_what_is_waited_for():
    """The bank, while a write or the list is refused; the memory until its beats come."""
    load, counts = Load(CHIPS[1], latency=30), {"bank": 0, "memory": 0, "neither": 0}
    load.sram[512:516] = bytes(4)
    refused = True

    async def cycle(ctx):
        nonlocal refused
        load.stall = 1.0 if refused else 0.0
        bank, memory = ctx.get(load.dut.waiting_bank), ctx.get(load.dut.waiting_memory)
        outcome = await load.cycle(ctx)
        counts["bank" if bank else "memory" if memory else "neither"] += 1
        if sum(counts.values()) == 40:
            refused = False
        return outcome

    async def bench(ctx):
        command = {"opcode": BY_MNEMONIC["gather"].opcode, "rows": 1, "bytes": 64, "hplane": 512}
        await issue(ctx, load.dut, command, cycle)
        assert 36 <= counts["bank"] <= 40
        assert 30 <= counts["memory"] <= 40
        assert counts["neither"] <= 8

    simulate(load.dut, bench)


@STALLS
@EVERY
def test_store_copies_rows(config, stall):
    config = config.replace(store_bursts=5)  # few enough that slow memories see the limit
    dut, dice = StoreDma(config), random.Random(8)
    sram, hbm = dice.randbytes(config.sram_bytes), bytearray(dice.randbytes(MEMORY_BYTES))
    expected = bytearray(hbm)
    model = WriteModel(dut.memory, hbm, config.axi_bytes, latency=25, stall=stall)
    refused: tuple | None = None

    async def cycle(ctx):
        nonlocal refused
        model.drive(ctx)
        ctx.set(dut.port.ready, dice.random() >= stall)
        model.sample(ctx)
        offer = tuple(map(ctx.get, (dut.memory.data, dut.memory.strb, dut.memory.last)))
        valid, ready = ctx.get(dut.memory.valid), ctx.get(dut.memory.ready)
        assert refused is None or (valid and offer == refused), "a beat was withdrawn or changed"
        refused = offer if valid and not ready else None
        accepted = ctx.get(dut.port.valid & dut.port.ready)
        line = ctx.get(dut.port.addr) * config.line_bytes
        outcome = ctx.get(dut.command.valid & dut.command.ready), ctx.get(dut.done)
        await ctx.tick()
        data = sram[line:][: config.line_bytes] if accepted else dice.randbytes(config.line_bytes)
        ctx.set(dut.port.data, int.from_bytes(data, "little"))  # this cycle only
        return outcome

    async def bench(ctx):
        for command in commands(config, seed=4, count=18):
            await issue(ctx, dut, command, cycle)
            for target, source in rows_of(command):
                expected[target : target + command["bytes"]] = sram[source:][: command["bytes"]]
            assert hbm == expected, command
            assert not model.responses, "done before memory has acknowledged"
        assert model.most == config.store_bursts

    simulate(dut, bench)


def test_load_sustains_a_beat_per_cycle():
    """Rows of one burst follow each other without a gap while enough bursts are in flight."""
    load = Load(CHIPS[1].replace(load_bursts=6), latency=30)

    async def bench(ctx):
        command = {"hbm": 0, "hstride": 4, "sram": 0, "sstride": 256, "rows": 32, "bytes": 256}
        cycles = await issue(ctx, load.dut, command | {"planes": 1}, load.cycle)
        assert cycles <= 32 * 8 + 30 + 6

    simulate(load.dut, bench)


@pytest.mark.parametrize("size", [256, 250, 225, 8])
@pytest.mark.parametrize("offset", [1, 31, 32, 60])
def test_rows_at_any_byte_cost_at_most_a_beat_more(offset, size):
    """Of planes and of a gather too; counted from the first beat on."""
    config = CHIPS[1].replace(load_bursts=32)
    for gather in (False, True):
        load = Load(config, latency=3)
        load.sram[-128:] = b"".join(number.to_bytes(4, "little") for number in range(32))
        beats: list[int] = []

        async def cycle(ctx, load=load, beats=beats):
            outcome = await load.cycle(ctx)
            beats.append(ctx.get(load.dut.memory.valid))
            return outcome

        async def bench(ctx, load=load, beats=beats, gather=gather):
            command = {"hbm": 0, "hstride": 5, "sram": 0, "sstride": 256, "bytes": size}
            command |= {"offset": offset, "rows": 8, "planes": 4, "hplane": 40, "splane": 2048}
            if gather:
                command |= {"rows": 32, "planes": 0, "hplane": config.sram_bytes - 128}
                command["opcode"] = BY_MNEMONIC["gather"].opcode
            cycles = await issue(ctx, load.dut, command, cycle)
            more = 1 if offset % 32 else 0
            assert cycles - beats.index(1) <= 32 * (-(-size // 32) + more) + 3

        simulate(load.dut, bench)


@pytest.mark.parametrize("offset", [0, 1, 31, 60])
def test_store_sustains_a_beat_per_cycle(offset):
    config = CHIPS[1].replace(store_bursts=64)
    dut, count, size = StoreDma(config), 24, 250
    model = WriteModel(dut.memory, bytearray(MEMORY_BYTES), 32, latency=3, stall=0.0)

    async def cycle(ctx):
        model.drive(ctx)
        ctx.set(dut.port.ready, 1)
        model.sample(ctx)
        outcome = ctx.get(dut.command.valid & dut.command.ready), ctx.get(dut.done)
        await ctx.tick()
        return outcome

    async def bench(ctx):
        command = {"hbm": 0, "hstride": 5, "sram": 0, "sstride": 256, "bytes": size, "rows": count}
        cycles = await issue(ctx, dut, command | {"planes": 1, "offset": offset}, cycle)
        assert cycles <= count * -(-(offset % 32 + size) // 32) + 3 + 6

    simulate(dut, bench)
