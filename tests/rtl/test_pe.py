"""ProcessingElement: moving activations, swapping weights, adding sums."""

import pytest

from isa.config import ELEMENTS
from rtl.expand import operand_bits
from rtl.pe import ProcessingElement
from tb.matrix_reference import add, multiply
from tests.support import rng, simulate


@pytest.mark.parametrize("element", ELEMENTS)
def test_random_traffic(element: str) -> None:
    """Against a model of four lines: what passes, which weight counts, what is added."""
    dut = ProcessingElement(element)
    dice = rng(1)
    cycles = 800
    operands = dice.integers(0, 1 << operand_bits(element), (3, cycles)).tolist()
    activations, normals, transposeds = operands
    sums = dice.integers(0, 1 << 32, cycles).tolist()
    swaps, loads, columns = (dice.random((3, cycles)) < 0.3).tolist()

    async def bench(ctx) -> None:
        shadow, weight, product = 0, 0, 0
        for i in range(cycles):
            ctx.set(dut.a_i, activations[i])
            ctx.set(dut.swap_i, swaps[i])
            ctx.set(dut.load_normal, loads[i])
            ctx.set(dut.normal, normals[i])
            ctx.set(dut.load_transposed, columns[i])
            ctx.set(dut.transposed, transposeds[i])
            ctx.set(dut.sum_i, sums[i])
            await ctx.tick()
            assert ctx.get(dut.a_o) == activations[i]
            assert ctx.get(dut.swap_o) == swaps[i]
            assert ctx.get(dut.sum_o) == add(element, sums[i], product)
            weight = shadow if swaps[i] else weight
            product = multiply(element, activations[i], weight)
            if loads[i] or columns[i]:
                shadow = transposeds[i] if columns[i] else normals[i]

    simulate(dut, bench)


@pytest.mark.parametrize(
    ("element", "values", "products"),
    [
        ("bf16", (0x3F80, 0x4000, 0x4040), (0x4000_0000, 0x4040_0000)),
        ("fp8", (0x3F8, 0x400, 0x404), (0x4000_0000, 0x4040_0000)),
        ("int8", (0xFF, 0x80, 3), (128, -3 % (1 << 32))),
    ],
)
def test_weight_is_loaded_while_the_old_one_works(
    element: str, values: tuple[int, ...], products: tuple[int, int]
) -> None:
    """A load in the cycle of the swap belongs to the next tile."""
    dut = ProcessingElement(element)
    one, two, three = values

    async def bench(ctx) -> None:
        ctx.set(dut.a_i, one)
        for load, weight, swap in [(1, two, 0), (1, three, 1), (0, 0, 0), (0, 0, 1), (0, 0, 0)]:
            ctx.set(dut.load_normal, load)
            ctx.set(dut.normal, weight)
            ctx.set(dut.swap_i, swap)
            await ctx.tick()
            results.append(ctx.get(dut.sum_o))

    results: list[int] = []
    simulate(dut, bench)
    assert results[2:] == [products[0], products[0], products[1]]
