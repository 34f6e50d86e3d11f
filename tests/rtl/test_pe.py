"""ProcessingElement: moving activations, swapping weights, adding sums."""

import numpy as np

from isa import numbers
from rtl.pe import ProcessingElement
from tests.support import rng, simulate


def test_random_traffic() -> None:
    """Against a model of four lines: what passes, which weight counts, what is added."""
    dut = ProcessingElement()
    dice = rng(1)
    cycles = 800
    activations, normals, transposeds = dice.integers(0, 1 << 16, (3, cycles), dtype=np.uint16)
    sums = dice.standard_normal(cycles).astype(np.float32)
    swaps, loads, columns = (dice.random((3, cycles)) < 0.3).tolist()

    async def bench(ctx) -> None:
        shadow, weight, product = 0, 0, np.float32(0)
        loaded = False
        for i in range(cycles):
            ctx.set(dut.a_i, int(activations[i]))
            ctx.set(dut.swap_i, swaps[i])
            ctx.set(dut.load_normal, loads[i])
            ctx.set(dut.normal, int(normals[i]))
            ctx.set(dut.load_transposed, columns[i])
            ctx.set(dut.transposed, int(transposeds[i]))
            ctx.set(dut.sum_i, int(sums[i].view(np.uint32)))
            await ctx.tick()
            total = numbers.add(sums[i], product)
            assert ctx.get(dut.a_o) == activations[i]
            assert ctx.get(dut.swap_o) == swaps[i]
            assert ctx.get(dut.sum_o) == int(total.view(np.uint32))
            weight = shadow if swaps[i] else weight
            operands = np.array([activations[i], weight], np.uint16)
            product = numbers.mul(*numbers.from_bf16(operands))
            if loads[i] or columns[i]:
                shadow = transposeds[i] if columns[i] else normals[i]
                loaded = True
        assert loaded

    simulate(dut, bench)


def test_weight_is_loaded_while_the_old_one_works() -> None:
    """A load in the cycle of the swap belongs to the next tile."""
    dut = ProcessingElement()
    one, two, three = 0x3F80, 0x4000, 0x4040

    async def bench(ctx) -> None:
        ctx.set(dut.a_i, one)
        ctx.set(dut.sum_i, 1 << 31)
        for load, weight, swap in [(1, two, 0), (1, three, 1), (0, 0, 0), (0, 0, 1), (0, 0, 0)]:
            ctx.set(dut.load_normal, load)
            ctx.set(dut.normal, weight)
            ctx.set(dut.swap_i, swap)
            await ctx.tick()
            results.append(ctx.get(dut.sum_o))

    results: list[int] = []
    simulate(dut, bench)
    assert [value >> 16 for value in results[2:]] == [two, two, three]
