"""Load and store DMA against a byte-wise model, with stalls on all sides."""

import random
from collections.abc import Iterator

import pytest

from isa.config import HBM_ATOM_BYTES, ChipConfig, load_config
from isa.table import BY_MNEMONIC
from rtl.dma_load import LoadDma
from rtl.dma_store import StoreDma
from tests.axi_model import ReadModel, WriteModel
from tests.support import simulate

MEMORY_BYTES = 1 << 16
LIMIT = 20_000
_TINY = load_config("tiny").replace(hbm="", sram_bytes=1 << 14, burst_beats=8)
# Beats of a line and less, beats narrower than the SRAM's granule, beats of two atoms.
CHIPS = [
    _TINY.replace(axi_bytes=8),
    _TINY.replace(axi_bytes=32),
    _TINY.replace(axi_bytes=4, store_bursts=3),
    _TINY.replace(axi_bytes=128, line_bytes=128, load_bursts=2, store_bursts=1),
]
EVERY = pytest.mark.parametrize("config", CHIPS, ids=lambda config: f"axi{config.axi_bytes}")
STALLS = pytest.mark.parametrize("stall", [0.0, 0.4])
Command = dict[str, int]


def _commands(config: ChipConfig, seed: int, count: int, gather: bool = False) -> list[Command]:
    """Random copies inside both memories; HBM rows start anywhere, so that bursts meet 4 KiB.

    Lists of gathers lie in the last 1 KiB of the SRAM, which no row reaches.
    """
    dice, line = random.Random(seed), config.line_bytes
    commands = []
    for index in range(count):
        rows, planes = dice.randint(1, 5), 1 if gather else dice.randint(1, 3)
        length = dice.choice([1, dice.randint(1, line), line, 2 * line, dice.randint(1, 670)])
        lines = -(-length // line)
        sstride = line * (lines + dice.randrange(3))
        atoms = -(-length // HBM_ATOM_BYTES)
        hstride = atoms + dice.randrange(4)
        command = {
            "opcode": BY_MNEMONIC["gather" if gather else "load"].opcode,
            "rows": rows if index % 5 else dice.randint(6, 40) if gather else 1,
            "bytes": length,
            "hbm": dice.randrange(300),
            "hstride": hstride,
            "sram": line * dice.randrange(2048 // line),
            "sstride": sstride if not gather else line * lines,
            "offset": dice.choice([0, dice.randrange(HBM_ATOM_BYTES)]),
            "planes": planes,
            "hplane": (rows - 1) * hstride + atoms + dice.randrange(3),
            "splane": (rows - 1) * sstride + line * (lines + dice.randrange(3)),
        }
        if gather:
            size = -(-4 * command["rows"] // line) * line
            first = config.sram_bytes - 1024
            most = (config.sram_bytes - 1024 - 2048) // (line * lines)
            command["rows"] = min(command["rows"], most)
            command |= {"planes": 0, "splane": 0}
            command["hplane"] = first + line * dice.randrange((1024 - size) // line + 1)
        commands.append(command)
    return commands


def _rows(command: Command, numbers: list[int] | None = None) -> Iterator[tuple[int, int]]:
    """(HBM byte, SRAM byte) of each row; ``numbers`` of a gather."""
    for plane in range(command["planes"] or 1):
        for row in range(command["rows"]):
            atom = command["hbm"] + (numbers[row] if numbers else row) * command["hstride"]
            sram = command["sram"] + row * command["sstride"]
            if not numbers:
                atom += plane * command["hplane"]
                sram += plane * command["splane"]
            yield HBM_ATOM_BYTES * atom + command["offset"], sram


def _expect_load(config: ChipConfig, sram: bytearray, hbm: bytes, command: Command, rows) -> None:
    for source, target in rows:
        filled = -(-command["bytes"] // config.lanes) * config.lanes
        sram[target : target + filled] = bytes(filled)
        sram[target : target + command["bytes"]] = hbm[source:][: command["bytes"]]


async def _issue(ctx, dut, command: Command, cycle) -> int:
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


class _Load:
    """LoadDma between an HBM and an SRAM of bytes; each cycle is at most in one class."""

    def __init__(self, config: ChipConfig, latency: int = 9, stall: float = 0.0) -> None:
        self.config, self.stall, self.dice = config, stall, random.Random(7)
        self.dut = LoadDma(config)
        self.hbm = self.dice.randbytes(MEMORY_BYTES)
        self.sram = bytearray(self.dice.randbytes(config.sram_bytes))
        self.model = ReadModel(self.dut.memory, self.hbm, config.axi_bytes, latency, stall)
        self.line: int | None = None  # of the list, read in the cycle before

    async def cycle(self, ctx) -> tuple[int, int]:
        dut, size = self.dut, self.config.line_bytes
        self.model.drive(ctx)
        listed = self.dice.randbytes(size) if self.line is None else self.sram[self.line :][:size]
        ctx.set(dut.list.data, int.from_bytes(listed, "little"))
        for port in (dut.port, dut.list):
            ctx.set(port.ready, self.dice.random() >= self.stall)
        self.model.sample(ctx)
        written = ctx.get(dut.port.valid & dut.port.ready)
        if written:
            self._write(ctx)
        taken = ctx.get(dut.list.valid & dut.list.ready)
        self.line = ctx.get(dut.list.addr) * size if taken else None
        assert ctx.get(dut.waiting_bank) + ctx.get(dut.waiting_memory) <= 1 - written
        outcome = ctx.get(dut.command.valid & dut.command.ready), ctx.get(dut.done)
        await ctx.tick()
        return outcome

    def _write(self, ctx) -> None:
        port, size, granule = self.dut.port, self.config.line_bytes, self.config.lanes
        start, mask = ctx.get(port.addr) * size, ctx.get(port.mask)
        data = ctx.get(port.data).to_bytes(size, "little")
        for at in range(0, size, granule):
            if mask >> (at // granule) & 1:
                self.sram[start + at : start + at + granule] = data[at : at + granule]


@STALLS
@EVERY
def test_load_copies_rows(config, stall):
    load = _Load(config, stall=stall)
    expected = bytearray(load.sram)

    async def bench(ctx):
        for command in _commands(config, seed=3, count=18):
            await _issue(ctx, load.dut, command, load.cycle)
            _expect_load(config, expected, load.hbm, command, _rows(command))
            assert load.sram == expected, command
        assert 1 < load.model.most <= config.load_bursts

    simulate(load.dut, bench)


@STALLS
@EVERY
def test_gather_copies_rows_by_number(config, stall):
    """Between loads, which must not notice."""
    load, dice = _Load(config, stall=stall), random.Random(5)
    expected = bytearray(load.sram)

    async def bench(ctx):
        for command in _commands(config, seed=6, count=10, gather=True):
            most = (MEMORY_BYTES // HBM_ATOM_BYTES - 320) // command["hstride"]
            numbers = [dice.randrange(most) for _ in range(command["rows"])]
            place = command["hplane"]
            for row, number in enumerate(numbers):
                for memory in (load.sram, expected):
                    memory[place + 4 * row : place + 4 * row + 4] = number.to_bytes(4, "little")
            await _issue(ctx, load.dut, command, load.cycle)
            _expect_load(config, expected, load.hbm, command, _rows(command, numbers))
            assert load.sram == expected, command
            (other,) = _commands(config, seed=len(load.hbm) + place, count=1)
            await _issue(ctx, load.dut, other, load.cycle)
            _expect_load(config, expected, load.hbm, other, _rows(other))
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
    load, asked = _Load(CHIPS[0]), []
    load.sram[512:516] = number.to_bytes(4, "little")

    async def cycle(ctx):
        if ctx.get(load.dut.memory.request.valid):
            asked.append(ctx.get(load.dut.memory.request.payload.addr))
        return await load.cycle(ctx)

    async def bench(ctx):
        command = {"opcode": BY_MNEMONIC["gather"].opcode, "hbm": hbm, "hstride": hstride}
        command |= {"rows": 1, "bytes": 8, "hplane": 512, "offset": 8}
        await _issue(ctx, load.dut, command, cycle)
        assert asked[0] == HBM_ATOM_BYTES * atom + 8

    simulate(load.dut, bench)


def test_what_is_waited_for():
    """The bank, while a write or the list is refused; the memory until its beats come."""
    load, counts = _Load(CHIPS[1], latency=30), {"bank": 0, "memory": 0, "neither": 0}
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
        await _issue(ctx, load.dut, command, cycle)
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
        for command in _commands(config, seed=4, count=18):
            await _issue(ctx, dut, command, cycle)
            for target, source in _rows(command):
                expected[target : target + command["bytes"]] = sram[source:][: command["bytes"]]
            assert hbm == expected, command
            assert not model.responses, "done before memory has acknowledged"
        assert model.most == config.store_bursts

    simulate(dut, bench)


def test_load_sustains_a_beat_per_cycle():
    """Rows of one burst follow each other without a gap while enough bursts are in flight."""
    load = _Load(CHIPS[1].replace(load_bursts=6), latency=30)

    async def bench(ctx):
        command = {"hbm": 0, "hstride": 4, "sram": 0, "sstride": 256, "rows": 32, "bytes": 256}
        cycles = await _issue(ctx, load.dut, command | {"planes": 1}, load.cycle)
        assert cycles <= 32 * 8 + 30 + 6

    simulate(load.dut, bench)


@pytest.mark.parametrize("size", [256, 250, 225, 8])
@pytest.mark.parametrize("offset", [1, 31, 32, 60])
def test_rows_at_any_byte_cost_at_most_a_beat_more(offset, size):
    """Of planes and of a gather too; counted from the first beat on."""
    config = CHIPS[1].replace(load_bursts=32)
    for gather in (False, True):
        load = _Load(config, latency=3)
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
            cycles = await _issue(ctx, load.dut, command, cycle)
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
        cycles = await _issue(ctx, dut, command | {"planes": 1, "offset": offset}, cycle)
        assert cycles <= count * -(-(offset % 32 + size) // 32) + 3 + 6

    simulate(dut, bench)
