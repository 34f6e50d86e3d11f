"""A matrix unit in Amaranth's simulator, with an SRAM that may refuse."""

import random
from collections.abc import Callable

import numpy as np

from isa.config import ChipConfig
from rtl.matrix import MatrixUnit
from tb.matrix_stimulus import Product
from tests.support import rng, simulate


def small_chip(rows: int, cols: int, line_bytes: int = 32, element: str = "bf16") -> ChipConfig:
    """A chip of so large an array, in simple memory."""
    return ChipConfig(
        name="test",
        rows=rows,
        cols=cols,
        lanes=4,
        line_bytes=line_bytes,
        sram_bytes=1 << 15,
        sram_banks=4,
        acc_rows=512,
        axi_bytes=16,
        element=element,
    )


class MatrixBench:
    """A matrix unit with an SRAM behind its ports, random in all cycles that carry no data."""

    def __init__(self, config: ChipConfig, refuse: float = 0.0, seed: int = 1) -> None:
        self.config, self.refuse = config, refuse
        self.dut = MatrixUnit(config)
        self.dice, self.numbers = random.Random(seed), rng(seed)
        self.memory = self.numbers.integers(0, 256, config.sram_bytes, dtype=np.uint8)
        self.cycles: list[int] = []
        self.entered: list[str] = []  # for each cycle of a command, what entered or was missing
        self._ended = False

    def run(self, products: list[Product], *others: Callable, follow: bool = False) -> np.ndarray:
        """Execute; returns the accumulators that the products name, others zero.

        `others` are test benches to run besides; they read instead of this one if there are any.
        With ``follow`` a command is given as soon as it is taken, and accumulators are read when
        all are done.
        """
        acc = np.zeros((self.config.acc_rows, self.config.cols), np.uint32)

        async def collect(ctx, product: Product) -> None:
            last = product.acc + product.panels * product.shape[0]
            for row in range(product.acc, 0 if others else last):
                acc[row] = await self.read(ctx, row)

        async def main(ctx) -> None:
            if follow:
                await self._follow(ctx, products)
            for product in products:
                if not follow:
                    await self._command(ctx, product.fields(self.memory))
                await collect(ctx, product)
            self._ended = True

        async def weights(ctx) -> None:
            await self._serve(ctx, self.dut.weights, 0.0)

        async def activations(ctx) -> None:
            await self._serve(ctx, self.dut.activations, self.refuse)

        simulate(self.dut, main, weights, activations, *others)
        return acc

    async def _command(self, ctx, fields: dict[str, int]) -> None:
        ctx.set(self.dut.command.payload, fields)
        ctx.set(self.dut.command.valid, 1)
        await ctx.tick().until(self.dut.command.ready)
        ctx.set(self.dut.command.valid, 0)
        causes = ("rows", "waiting_operand", "waiting_bank")
        signals = [getattr(self.dut, name) for name in causes]
        cycles, done = 0, 0
        while not done:
            _, _, done, *causing = await ctx.tick().sample(self.dut.done, *signals)
            seen = [name for name, one in zip(causes, causing, strict=True) if one]
            self.entered.append("+".join(seen))
            cycles += 1
        self.cycles.append(cycles)

    async def _follow(self, ctx, products: list[Product]) -> None:
        """Operands overwrite those of the product before, of which nothing is to be read when the
        unit is ready. ``cycles``: from one `done` to the next one."""
        waiting, spent = list(products), 0
        while len(self.cycles) < len(products):
            ready = waiting and ctx.get(self.dut.command.ready)
            if ready:
                ctx.set(self.dut.command.payload, waiting.pop(0).fields(self.memory))
            ctx.set(self.dut.command.valid, int(bool(ready)))
            _, _, done = await ctx.tick().sample(self.dut.done)
            spent += 1
            if done:
                self.cycles.append(spent)
                spent = 0

    @property
    def rows(self) -> int:
        """Rows that have entered the array."""
        return self.entered.count("rows")

    async def read(self, ctx, row: int) -> np.ndarray:
        """A row of the accumulators, as the vector unit reads it."""
        port = self.dut.acc_read
        ctx.set(port.addr, row)
        ctx.set(port.valid, 1)
        await ctx.tick().until(port.ready)
        ctx.set(port.valid, 0)
        width = 4 * self.config.cols
        return np.frombuffer(ctx.get(port.data).to_bytes(width, "little"), np.uint32)

    async def _serve(self, ctx, port, refuse: float) -> None:
        size = self.config.line_bytes
        while not self._ended:
            ready = self.dice.random() >= refuse
            ctx.set(port.ready, ready)
            _, _, valid, addr = await ctx.tick().sample(port.valid, port.addr)
            line = self.memory[addr * size :][:size]
            if not (valid and ready):
                line = self.numbers.integers(0, 256, size, dtype=np.uint8)
            ctx.set(port.data, int.from_bytes(line.tobytes(), "little"))


def check_products(config: ChipConfig, products: list[Product], refuse: float = 0.0) -> MatrixBench:
    """Run them; the accumulators are those of the reference, and every tile's rows have entered."""
    bench = MatrixBench(config, refuse)
    want = np.zeros((config.acc_rows, config.cols), np.uint32)
    for product in products:
        product.apply(want)
    got = bench.run(products)
    assert np.array_equal(got, want)
    tiles = [-(-p.shape[1] // config.rows) * p.panels * p.shape[0] for p in products]
    assert bench.rows == sum(tiles)
    return bench
