"""Random copies for tests of the DMA engines, what they must do, and how to issue them."""

import random
from collections.abc import Iterator

from isa.config import HBM_ATOM_BYTES, ChipConfig, load_config
from isa.table import BY_MNEMONIC
from rtl.dma_load import LoadDma
from tests.axi_model import ReadModel

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
Command = dict[str, int]


def commands(config: ChipConfig, seed: int, count: int, gather: bool = False) -> list[Command]:
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


def rows_of(command: Command, numbers: list[int] | None = None) -> Iterator[tuple[int, int]]:
    """(HBM byte, SRAM byte) of each row; ``numbers`` of a gather."""
    for plane in range(command["planes"] or 1):
        for row in range(command["rows"]):
            atom = command["hbm"] + (numbers[row] if numbers else row) * command["hstride"]
            sram = command["sram"] + row * command["sstride"]
            if not numbers:
                atom += plane * command["hplane"]
                sram += plane * command["splane"]
            yield HBM_ATOM_BYTES * atom + command["offset"], sram


def expect_load(config: ChipConfig, sram: bytearray, hbm: bytes, command: Command, rows) -> None:
    for source, target in rows:
        filled = -(-command["bytes"] // config.lanes) * config.lanes
        sram[target : target + filled] = bytes(filled)
        sram[target : target + command["bytes"]] = hbm[source:][: command["bytes"]]


async def issue(ctx, dut, command: Command, cycle) -> int:
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


class Load:
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
