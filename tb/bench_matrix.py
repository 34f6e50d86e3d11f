"""Bench of `MatrixUnit`: random products of all formats, reads of activations refused at random,
accumulators read while it works."""

import random
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from typing import Any

import cocotb
import numpy as np
from numpy.typing import NDArray

from isa.config import ChipConfig
from isa.formats import FORMATS
from isa.table import MATRIX
from rtl.ports import command_layout
from tb.agents import STATES, Ports, Pulse, Source, SramReads, Stable, cycle, reset, state_of
from tb.coverage import Coverage
from tb.matrix_reference import taken
from tb.matrix_stimulus import Product
from tb.runner import bench_parameters

LAYOUTS, MODES = ("normal", "transposed"), ("overwrite", "accumulate")
SIZES = ("1", "less", "whole", "multiple", "other")
# Least K of a product with blocks that follows one with few: several lines of scales.
_LONG = (0, 0, 0, 32, 1024)
WAITS = ("rows", "waiting_operand", "waiting_bank")


class AccReader:
    """Reads accumulator rows through `acc_read`: `asked` holds (row, expected bits)."""

    def __init__(self, dut, pause: float) -> None:
        self.ports, self.pause = Ports(dut, "acc_read"), pause
        self.asked: deque[tuple[int, int]] = deque()
        self.stable = Stable("acc_read")
        self.offered = False
        self.due: tuple[int, int] | None = None
        self.state = "none"

    def idle(self) -> None:
        self.ports.set("valid", 0)

    def drive(self) -> None:
        self.offered = self.offered or (bool(self.asked) and random.random() >= self.pause)
        self.ports.set("valid", self.offered)
        if self.offered:
            self.ports.set("addr", self.asked[0][0])

    def sample(self) -> None:
        if self.due is not None:
            row, want = self.due
            got = self.ports.get("data")
            assert got == want, f"accumulator row {row}: {got:#x}, not {want:#x}"
        self.state = state_of(self.offered, self.ports.get("ready"))
        self.due = None
        if self.state == "taken":
            self.offered, self.due = False, self.asked.popleft()


def _coverage(config: ChipConfig) -> Coverage:
    cover = Coverage(f"matrix_{config.element}")
    pairs = [f"{af} {wf}" for af, wf in taken(config)]
    cover.point("formats", {"a w": pairs, "layout": LAYOUTS, "mode": MODES})
    cover.point("m", {"m to R": SIZES, "layout": LAYOUTS, "packed": [False, True]})
    cover.point("k", {"k to R": SIZES, "layout": LAYOUTS})
    cover.point("n", {"n to C": SIZES, "layout": LAYOUTS})
    blocks = [wf for wf in dict.fromkeys(wf for _, wf in taken(config)) if FORMATS[wf].block]
    if blocks:
        cover.point("blocks", {"w": blocks, "k to B": SIZES[1:], "layout": LAYOUTS})
    cover.point("cycle", {"a row": WAITS})
    cover.point("activations", {"read": STATES})
    cover.point("acc_read", {"read": STATES})
    return cover


def _size(value: int, unit: int) -> str:
    """Which of `SIZES` it is."""
    if value == 1:
        return "1"
    if value < unit:
        return "less"
    return "whole" if value == unit else "other" if value % unit else "multiple"


class _Turns:
    """Values in random order, each as often as the others; for every key anew."""

    def __init__(self, values: Sequence) -> None:
        self.values, self.left = values, defaultdict(list)

    def next(self, *key: object) -> Any:
        if not self.left[key]:
            self.left[key] = random.sample(self.values, len(self.values))
        return self.left[key].pop()


def _length(size: str, unit: int) -> int:
    """A number that is of one of `SIZES`."""
    return {
        "1": 1,
        "less": random.choice([2, unit - 1]),
        "whole": unit,
        "multiple": 2 * unit,
        "other": unit * random.randint(1, 2) + random.randrange(1, unit),
    }[size]


def _products(config: ChipConfig, rounds: int) -> Iterator[Product]:
    """Of every pair of formats, layout and mode as many as `rounds`, in random order."""
    cases = [(*p, layout, mode) for p in taken(config) for layout in LAYOUTS for mode in MODES]
    m_turns, k_turns, n_turns = (_Turns(SIZES) for _ in range(3))
    block_turns, packed_turns, long_turns = _Turns(SIZES[1:]), _Turns((False, True)), _Turns(_LONG)
    for af, wf, layout, mode in random.sample(cases * rounds, len(cases) * rounds):
        packed, block = packed_turns.next(layout), FORMATS[wf].block
        m = _length(m_turns.next(layout, packed), config.rows)
        k = _length(k_turns.next(layout), config.rows)
        if block:
            k = _length(block_turns.next(wf, layout), block)
        n = _length(n_turns.next(layout), config.cols)
        yield _product(config, (m, k, n), af, wf, layout, mode, packed)
        if block and (least := long_turns.next(wf)):
            shape = 1, random.randint(least, 2048), min(n, config.cols)
            yield _product(config, shape, af, wf, layout, mode, packed)


def _product(
    config: ChipConfig,
    shape: tuple[int, int, int],
    af: str,
    wf: str,
    layout: str,
    mode: str,
    packed: bool,
) -> Product:
    return Product(
        config,
        shape,
        layout,
        packed=packed,
        skew=random.randrange(3),
        accumulate=mode == "accumulate",
        acc=random.randrange(config.acc_rows - 3 * shape[0]),
        base=random.randrange(8) * config.array_row_bytes,
        seed=random.getrandbits(30),
        af=af,
        wf=wf,
    )


def _note(cover: Coverage, product: Product) -> None:
    (m, k, n), config = product.shape, product.config
    mode = MODES[product.accumulate]
    cover.hit("formats", f"{product.af} {product.wf}", product.layout, mode)
    cover.hit("m", _size(m, config.rows), product.layout, product.packed)
    cover.hit("k", _size(k, config.rows), product.layout)
    cover.hit("n", _size(n, config.cols), product.layout)
    block = FORMATS[product.wf].block
    if block:
        cover.hit("blocks", product.wf, _size(k, block).replace("1", "less"), product.layout)


class _Bench:
    def __init__(self, dut, config: ChipConfig) -> None:
        self.dut, self.config, self.cover = dut, config, _coverage(config)
        memory = bytearray(random.randbytes(config.sram_bytes))
        self.memory: NDArray[np.uint8] = np.frombuffer(memory, np.uint8)
        self.acc = np.zeros((config.acc_rows, config.cols), np.uint32)
        self.known: set[int] = set()  # accumulator rows that have been written
        line = config.line_bytes
        self.weights = SramReads(dut, "weights", memory, line, 0.0)
        self.activations = SramReads(dut, "activations", memory, line, 0.0)
        self.commands, self.reader = Source(dut, "command", 0.3), AccReader(dut, 0.3)
        self.done = Pulse(dut, "done")
        self.waits = [Pulse(dut, name) for name in WAITS]
        self.agents = (self.weights, self.activations, self.commands, self.reader, self.done)
        self.agents += tuple(self.waits)

    async def cycle(self) -> None:
        await cycle(self.dut, self.agents)
        causes = [name for name, wait in zip(WAITS, self.waits, strict=True) if wait.seen]
        assert len(causes) <= 1, f"a row and a reason why there is none: {causes}"
        for cause in causes:
            self.cover.hit("cycle", cause)
        self.cover.hit("activations", self.activations.state)
        self.cover.hit("acc_read", self.reader.state)

    def ask(self, row: int) -> None:
        bits = int.from_bytes(self.acc[row].tobytes(), "little")
        self.reader.asked.append((row, bits))

    async def command(self, fields: dict[str, int]) -> None:
        """Send it and wait until it is done."""
        self.commands.queue.append(command_layout(MATRIX).const(fields).as_bits())
        before, cycles = self.done.count, 0
        while self.done.count == before:
            await self.cycle()
            cycles += 1
            assert cycles < 100_000, f"still busy with {fields}"

    async def follow(self, products: list[Product]) -> None:
        """Products of which each is offered at once; then all of their rows. Operands are laid down
        as a command is taken: nothing is left to be read of the one before."""
        targets = [range(p.acc, p.acc + p.panels * p.shape[0]) for p in products]
        for index, product in enumerate(products):
            _note(self.cover, product)
            ahead = set().union(*targets[:index])
            product.accumulate &= (self.known | ahead).issuperset(targets[index])
        scratch, waiting = self.memory.copy(), deque(products)
        fields = [product.fields(scratch) for product in products]
        self.commands.on_take = lambda payload: waiting.popleft().fields(self.memory)
        self.activations.refusal, before = random.choice([0.0, 0.5]), self.done.count
        self.commands.queue.extend(command_layout(MATRIX).const(f).as_bits() for f in fields)
        while self.done.count < before + len(products):
            await self.cycle()
        self.commands.on_take = lambda payload: None
        for product, target in zip(products, targets, strict=True):
            product.apply(self.acc)
            self.known |= set(target)
        for row in sorted(set().union(*targets)):
            self.ask(row)
        await self._read()

    async def _read(self) -> None:
        while self.reader.asked or self.reader.due:
            await self.cycle()

    async def product(self, product: Product) -> None:
        """One product, other rows being read meanwhile; then all of its rows."""
        m, k, _ = product.shape
        _note(self.cover, product)
        self.activations.refusal = random.choice([0.0, 0.1, 0.5])
        target = range(product.acc, product.acc + product.panels * m)
        if product.accumulate:  # what was there from before must be known
            product = await self._known(product, target)
        for row in random.choices(sorted(self.known - set(target)) or [0], k=20):
            if row not in target and row in self.known:
                self.ask(row)
        rows, before = -(-k // self.config.rows) * len(target), self.waits[0].count
        await self.command(product.fields(self.memory))
        assert self.waits[0].count - before == rows, "rows entered the array"
        product.apply(self.acc)
        self.known |= set(target)
        for row in target:
            self.ask(row)
        await self._read()

    async def _known(self, product: Product, target: range) -> Product:
        if not self.known.issuperset(target):
            first = Product(
                product.config,
                (product.shape[0], 1, product.shape[2]),
                acc=product.acc,
                af=product.af,
                wf="i8" if self.config.element == "int8" else "e4m3",
            )
            await self.command(first.fields(self.memory))
            first.apply(self.acc)
        return product


@cocotb.test()
async def random_products(dut) -> None:
    parameters = bench_parameters()
    config = ChipConfig.from_dict(parameters["config"], "bench")
    bench = _Bench(dut, config)
    await reset(dut, bench.agents)
    await bench.cycle()
    left = list(_products(config, parameters["rounds"]))
    while left:
        if random.random() < 0.3:
            count = random.randint(2, 4)
            await bench.follow(left[:count])
            left = left[count:]
        else:
            await bench.product(left.pop(0))
    bench.cover.save()
