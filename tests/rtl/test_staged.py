"""Pipelined arithmetic against the same formulas on integers."""

import random

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.staged import Pipeline, select
from tests.support import simulate


def _formula(a, b, c, less_one, choose):
    """Everything that numbers can do; the sum joins stages 0, 1 and 2."""
    product = (a + 3) * less_one(b)
    square = product * product
    chosen = choose(a > b, square, (c >> 2) * 16)
    return chosen + b * 7 + (a & 5) + choose(c == 9, 1, choose(product >= c, b, 0))


class _Formula(wiring.Component):
    """`_formula` in two register stages that `move` lets go on."""

    def __init__(self):
        super().__init__({"a": In(6), "b": In(5), "c": In(7), "move": In(1), "o": Out(40)})

    def elaborate(self, platform):
        m = Module()
        pipeline = Pipeline(m, [self.move, self.move])
        a, b = pipeline.number(self.a), pipeline.number(self.b)
        c = pipeline.number(self.c, stage=None)
        m.d.comb += self.o.eq(_formula(a, b, c, lambda n: n.less_one(), select).at(2))
        return m


def test_agrees_with_integers_and_stalls():
    dut, dice = _Formula(), random.Random(5)

    async def bench(ctx):
        ctx.set(dut.c, 93)
        queue = []
        for _ in range(500):
            a, b = dice.randrange(64), dice.randint(1, 31)
            move = dice.random() < 0.7
            ctx.set(dut.a, a)
            ctx.set(dut.b, b)
            ctx.set(dut.move, move)
            await ctx.tick()
            if not move:
                continue
            queue.append(_formula(a, b, 93, lambda n: n - 1, lambda c, x, y: x if c else y))
            if len(queue) == 2:
                ctx.set(dut.b, 0)  # what enters later does not matter
                assert ctx.get(dut.o) == queue.pop(0)

    simulate(dut, bench)


def test_equal_expressions_are_built_once():
    pipeline = Pipeline(Module(), [Signal()])
    a, b = pipeline.number(Signal(4)), pipeline.number(Signal(4))
    assert (a + b) is (a + b)
    assert (a * b) is (a * b)
    assert (a + 1) is not (a + 2)
    assert select(a == 3, b, 0) is select(a == 3, b, 0)


def test_reject_what_is_not_known():
    pipeline = Pipeline(Module(), [Signal()])
    a, constant = pipeline.number(Signal(4)), pipeline.number(Signal(4), stage=None)
    with pytest.raises(ValueError, match=r"^a number of stage 1 is not known in stage 0$"):
        (a * a).at(0)
    with pytest.raises(ValueError, match=r"^one factor of a product must belong to a stage$"):
        constant * constant
    with pytest.raises(TypeError, match="is not known while it is built"):
        bool(a > 3)
