"""BankedSram: random traffic of all clients against a byte array, and the order of priorities."""

import random

import pytest

from isa.config import load_config
from rtl.sram import CLIENTS, READERS, WRITERS, BankedSram
from tb.sram_reference import bank_of
from tests.support import simulate

CONFIG = load_config("tiny").replace(sram_bytes=64 * 32)


def _write(image: bytearray, line: int, data: bytes, mask: int) -> None:
    granule = CONFIG.byte_vector_bytes
    for index in range(CONFIG.line_bytes // granule):
        if mask >> index & 1:
            start = line * CONFIG.line_bytes + index * granule
            image[start : start + granule] = data[index * granule :][:granule]


class _Traffic:
    """One cycle of random requests; those refused stay, as the contract demands."""

    def __init__(self, dut: BankedSram, lines: int, load: float):
        self.dut, self.lines, self.load = dut, lines, load
        self.dice = random.Random(5)
        self.pending: dict[str, int] = {}
        self.image = bytearray(CONFIG.sram_bytes)
        self.refused = 0

    def drive(self, ctx) -> None:
        for name in CLIENTS:
            port = getattr(self.dut, name)
            if name not in self.pending and self.dice.random() < self.load:
                self.pending[name] = self.dice.randrange(self.lines)
                if name in WRITERS:
                    ctx.set(port.data, self.dice.getrandbits(8 * CONFIG.line_bytes))
                    ctx.set(port.mask, self.dice.getrandbits(len(port.mask)))
            ctx.set(port.valid, name in self.pending)
            ctx.set(port.addr, self.pending.get(name, 0))

    def sample(self, ctx) -> dict[str, int]:
        """Lines accepted, by client; checks that a bank serves the first of those who want it."""
        users: dict[int, str] = {}
        for name in CLIENTS:
            if name in self.pending:
                users.setdefault(bank_of(self.pending[name], CONFIG.sram_banks), name)
        for name in self.pending:
            accepted = ctx.get(getattr(self.dut, name).ready)
            assert accepted == (name in users.values()), name
        refused = len(users) < len(self.pending)
        assert ctx.get(self.dut.refused) == refused
        self.refused += refused
        return {name: self.pending.pop(name) for name in users.values()}


@pytest.mark.parametrize("lines", [64, 5])
def test_random_traffic(lines):
    dut = BankedSram(CONFIG)
    traffic = _Traffic(dut, lines, load=0.4)

    async def bench(ctx):
        for _ in range(1500):
            traffic.drive(ctx)
            accepted = traffic.sample(ctx)
            expected = {}
            for name, line in accepted.items():
                port, start = getattr(dut, name), line * CONFIG.line_bytes
                if name in READERS:
                    expected[name] = bytes(traffic.image[start:][: CONFIG.line_bytes])
                else:
                    data = ctx.get(port.data).to_bytes(CONFIG.line_bytes, "little")
                    _write(traffic.image, line, data, ctx.get(port.mask))
            await ctx.tick()
            for name, line in expected.items():
                data = ctx.get(getattr(dut, name).data).to_bytes(CONFIG.line_bytes, "little")
                assert data == line, name
        assert traffic.refused > 100

    simulate(dut, bench)


def test_matrix_weights_are_never_refused():
    dut = BankedSram(CONFIG)

    async def bench(ctx):
        for name in CLIENTS:
            ctx.set(getattr(dut, name).valid, 1)
            ctx.set(getattr(dut, name).addr, 9)
        assert ctx.get(dut.matrix_weights.ready)
        assert not any(ctx.get(getattr(dut, name).ready) for name in CLIENTS[1:])

    simulate(dut, bench)


@pytest.mark.parametrize("banks", [2, 4, 16])
def test_rows_at_any_power_of_two_spread_over_the_banks(banks):
    """As columns of a matrix are read, tile by tile; and each line has a place of its own."""
    lines = banks * 1024
    places = [(bank_of(line, banks), line // banks) for line in range(lines)]
    assert len(set(places)) == lines
    for step in (1 << shift for shift in range(8)):
        found = [bank_of(step * row, banks) for row in range(4 * banks)]
        assert max(map(found.count, range(banks))) <= 4 + 2, step
    runs = [bank for bank, _ in places]
    assert all((runs[n + 1] - runs[n]) % banks == 1 for n in range(lines - 1) if ~n % (2 * banks))
