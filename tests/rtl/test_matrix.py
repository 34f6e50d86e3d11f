"""MatrixUnit against isa.numbers: formats, shapes, layouts, strides, refused reads, timing."""

import random

import numpy as np
import pytest

from isa import numbers
from isa.config import ELEMENTS
from tb.matrix_reference import taken
from tb.matrix_stimulus import Product
from tests.rtl.matrix_bench import MatrixBench, check_products, small_chip

SIZES = [(8, 8, 32), (4, 8, 32), (8, 4, 32), (4, 4, 64), (8, 8, 16), (16, 4, 32)]


@pytest.mark.parametrize(("rows", "cols", "line_bytes"), SIZES)
@pytest.mark.parametrize(("layout", "refuse"), [("normal", 0.4), ("transposed", 0.0)])
def test_random_products(rows: int, cols: int, line_bytes: int, layout: str, refuse: float) -> None:
    config = small_chip(rows, cols, line_bytes)
    dice = random.Random(rows * cols + line_bytes)
    products = []
    for seed in range(5):
        m = dice.choice([1, 2, 3, dice.randint(4, 12)])
        products.append(
            Product(
                config,
                (m, dice.randint(1, 40), dice.randint(1, 40 if m < 4 else 12)),
                layout,
                packed=seed % 2 == 0,
                skew=dice.randrange(3),
                accumulate=seed > 0 and dice.random() < 0.5,
                acc=dice.randrange(100),
                seed=seed,
            )
        )
    check_products(config, products, refuse)


# Each with one activation format; the bench of the emitted unit has all pairs.
FORMATS = [
    (element, af, wf)
    for element in ELEMENTS
    for i, (af, wf) in enumerate(taken(small_chip(4, 4, element=element)))
    if element != "fp8" or i % 2
]


@pytest.mark.parametrize(("element", "af", "wf"), FORMATS)
@pytest.mark.parametrize("layout", ["normal", "transposed"])
def test_formats(element: str, af: str, wf: str, layout: str) -> None:
    """Several tiles to a block, panels and ends of all that are not whole, both modes."""
    seed = 2 * len(wf) + len(layout)
    rows, cols, line_bytes = [(8, 4, 16), (4, 8, 64), (4, 4, 32)][seed % 3]
    config = small_chip(rows, cols, line_bytes, element)
    first = Product(config, (3, 41, 6), layout, seed=seed, af=af, wf=wf)
    second = Product(config, (1, 70, 6), layout, False, 1, acc=6, seed=seed + 1, af=af, wf=wf)
    third = Product(config, (3, 33, 5), layout, False, accumulate=True, seed=seed, af=af, wf=wf)
    check_products(config, [first, second, third], refuse=0.2)


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 3), (40, 5, 9), (7, 40, 40), (2, 8, 40)])
@pytest.mark.parametrize("layout", ["normal", "transposed"])
def test_shapes(shape: tuple[int, int, int], layout: str) -> None:
    config = small_chip(4, 4)
    check_products(config, [Product(config, shape, layout, seed=3)], refuse=0.2)


@pytest.mark.parametrize("line_bytes", [16, 32, 64])
@pytest.mark.parametrize("m", [1, 2, 3])
def test_few_rows_accumulate_over_tiles(line_bytes: int, m: int) -> None:
    """The same accumulator row comes again as soon as it ever can."""
    config = small_chip(4, 8, line_bytes)
    first = Product(config, (m, 40, 8), seed=4)
    second = Product(config, (m, 37, 8), seed=5, accumulate=True)
    check_products(config, [first, second], refuse=0.3)


def test_agrees_with_float64() -> None:
    """Without numbers.matmul: a product of plain values is what mathematics says."""
    config = small_chip(8, 4)
    product = Product(config, (6, 37, 11), seed=7)
    dice = np.random.default_rng(8)
    product.a = numbers.to_bf16(dice.standard_normal((6, 37)).astype(np.float32))
    product.w = numbers.to_bf16(dice.standard_normal((37, 11)).astype(np.float32))
    got = MatrixBench(config).run([product])[:18].view(np.float32)
    got = got.reshape(3, 6, 4).transpose(1, 0, 2).reshape(6, 12)
    a, w = ((x.astype(np.uint32) << 16).view(np.float32) for x in (product.a, product.w))
    want = a.astype(np.float64) @ w.astype(np.float64)
    assert np.abs(got[:, :11] - want).max() < 1e-5 * np.abs(a).max() * np.abs(w).max() * 37
    assert (got[:, 11] == 0).all()


@pytest.mark.parametrize(
    ("wf", "layout", "packed", "period"),
    [
        ("e4m3", "normal", True, 4),  # q rows a cycle in narrower formats too
        ("mxfp4", "normal", True, 4.25),
        ("mxfp4", "normal", False, 8.25),  # 1 row of scales for 4 tiles
        ("nvfp4", "normal", False, 8.5),
        ("i4", "transposed", True, 8.25),
    ],
)
def test_cycles_per_tile_of_formats(wf: str, layout: str, packed: bool, period: float) -> None:
    config = small_chip(8, 8)
    short = Product(config, (1, 32, 8), layout, packed, seed=11, wf=wf)
    long = Product(config, (1, 96, 8), layout, packed, seed=13, wf=wf)
    first, second = check_products(config, [short, long]).cycles
    assert (second - first) / 8 == period


@pytest.mark.parametrize(
    ("rows", "line_bytes", "m", "layout", "packed", "period"),
    [
        (8, 32, 1, "normal", True, 4),  # R/q, q = 2
        (16, 64, 1, "normal", True, 10),  # R - R/q - q + 2, q = 4: the swap goes a row a cycle
        (8, 16, 1, "normal", True, 8),  # q = 1: R cycles of loads
        (8, 32, 1, "normal", False, 8),
        (8, 32, 1, "transposed", True, 8),
        (8, 32, 8, "normal", True, 8),  # M = R: a row every cycle, no gap between tiles
        (8, 32, 8, "normal", False, 8),
        (8, 32, 8, "transposed", True, 8),
        (4, 64, 1, "normal", True, 3),  # of several kinds, the least
        (4, 32, 5, "normal", True, 5),
    ],
)
def test_cycles_per_tile(
    rows: int, line_bytes: int, m: int, layout: str, packed: bool, period: int
) -> None:
    config = small_chip(rows, 8, line_bytes)
    short = Product(config, (m, rows * 4, 8), layout, packed, seed=11)  # odd: strided is not dense
    long = Product(config, (m, rows * 12, 8), layout, packed, seed=13)
    first, second = check_products(config, [short, long]).cycles
    assert (second - first) / 8 == period


def test_latency_of_the_smallest_product() -> None:
    config = small_chip(8, 8)
    assert check_products(config, [Product(config, (1, 1, 1))]).cycles == [8 + 8 + 6]
    assert check_products(config, [Product(config, (1, 1, 1), wf="mxfp8")]).cycles == [8 + 8 + 7]


@pytest.mark.parametrize(("m", "refuse"), [(1, 0.0), (9, 0.0), (9, 0.3), (2, 0.3)])
def test_every_bubble_has_one_cause(m: int, refuse: float) -> None:
    config = small_chip(8, 4)
    product = Product(config, (m, 40, 7), "transposed", seed=17)
    entered = check_products(config, [product], refuse).entered
    last = max(i for i, what in enumerate(entered) if what)
    between = entered[entered.index("rows") : last + 1]
    assert set(between) <= {"rows", "waiting_operand", "waiting_bank"}
    assert ("waiting_bank" in between) == (refuse > 0)
    assert ("waiting_operand" in between) == (m < 8)


@pytest.mark.parametrize("refuse", [0.0, 0.4])
def test_products_follow_each_other(refuse: float) -> None:
    """Each begins while the one before drains, in another format, layout and size, or adds to its
    accumulators."""
    config, dice = small_chip(8, 8), random.Random(21)
    kinds = [("bf16", "normal"), ("mxfp4", "normal"), ("i4", "transposed"), ("bf16", "transposed")]
    products = []
    for seed in range(12):
        (wf, layout), acc = kinds[seed % 4], 100 * dice.randrange(2)
        shape = dice.choice([1, 1, 2, 9]), dice.choice([1, 8, 19, 40]), dice.choice([3, 8, 20])
        adds = seed > 5 and dice.random() < 0.7
        first = next((p for p in products if p.acc == acc), None)
        if adds and first is not None:
            shape = first.shape[0], shape[1], first.shape[2]
        products.append(
            Product(config, shape, layout, seed % 3 > 0, accumulate=adds, acc=acc, wf=wf, seed=seed)
        )
    want = np.zeros((config.acc_rows, config.cols), np.uint32)
    bench = MatrixBench(config, refuse)
    got = bench.run(products, follow=True)
    for product in products:
        product.apply(want)
    assert np.array_equal(got, want)


def test_the_array_drains_while_the_next_product_begins() -> None:
    """Of one row each: from the last row that is taken to the next command's first one 7 cycles, in
    which it is taken, started, and its weights and its row are read."""
    config = small_chip(8, 8)
    bench = MatrixBench(config)
    bench.run([Product(config, (1, 8, 8), seed=seed) for seed in range(4)], follow=True)
    assert bench.cycles == [1 + 8 + 8 + 6] + 3 * [7]


@pytest.mark.parametrize("row", [100, 400])
def test_accumulators_can_be_read_during_a_product(row: int) -> None:
    """Rows of an earlier result stay readable, and right, while a matmul adds to other rows; those
    of the other half (256 rows) in every cycle."""
    config = small_chip(4, 4)
    bench = MatrixBench(config)
    early = Product(config, (3, 4, 4), acc=row, seed=13)
    want = np.zeros((config.acc_rows, 4), np.uint32)
    early.apply(want)
    long = Product(config, (6, 30, 8), acc=0, seed=14)
    seen = []

    async def reader(ctx) -> None:
        while not bench.cycles:  # until the first product is done
            await ctx.tick()
        while len(bench.cycles) == 1:
            seen.append((await bench.read(ctx, row + len(seen) % 3)).copy())

    bench.run([early, long], reader)
    assert len(seen) >= 20
    if row >= 256:
        assert len(seen) >= bench.cycles[1]
    for i, values in enumerate(seen):
        assert np.array_equal(values, want[row + i % 3])
