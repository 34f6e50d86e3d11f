"""Bit planes: many small fields side by side, plane b holding bit b of each.

What is done to all of the fields is then a handful of operations on words as wide as there are
fields. The registers are those of as many separate fields; simulators are some ten times as fast.
"""

from collections.abc import Sequence
from functools import reduce
from operator import and_, or_

from amaranth.hdl import Cat, Const, Module, Signal, Value

Planes = Sequence[Value]


def equal(planes: Planes, value: Value) -> Value:
    """A bit for each field: it has the value."""
    size = len(planes[0])
    return reduce(and_, (~(p ^ bit.replicate(size)) for p, bit in zip(planes, value, strict=True)))


def chosen(pick: Value, planes: Planes) -> Value:
    """The field whose bit is set in the one-hot ``pick``, 0 if none is."""
    return Cat((plane & pick).any() for plane in planes)


def countdowns(m: Module, name: str, size: int, *waits: tuple[Value, Value | int, int]) -> Signal:
    """A bit for each of ``size`` counters. It is 0 in the n - 1 cycles after one in which an
    ``event`` of ``waits`` was, of which (event, which, n) has this bit in ``which``."""
    bits = (max(wait for _, _, wait in waits) - 1).bit_length()
    left = [Signal(size, name=f"{name}_left_{bit}") for bit in range(bits)]
    over = Signal(size, name=name)
    m.d.comb += over.eq(~reduce(or_, left))
    borrow, after = ~over, []
    for bit, plane in enumerate(left):
        after.append(_wire(m, f"{name}_after_{bit}", plane ^ borrow))
        borrow = _wire(m, f"{name}_borrow_{bit}", borrow & ~plane)
    for index, (event, which, wait) in enumerate(waits):
        load = Signal(size, name=f"{name}_load_{index}")
        with m.If(event):
            m.d.comb += load.eq(which & _less(after, wait - 1))
        longer = [Signal(size, name=f"{name}_{index}_{bit}") for bit in range(bits)]
        for bit, (plane, value) in enumerate(zip(longer, after, strict=True)):
            m.d.comb += plane.eq(value | load if wait - 1 >> bit & 1 else value & ~load)
        after = longer
    m.d.sync += [plane.eq(value) for plane, value in zip(left, after, strict=True)]
    return over


def _less(planes: Planes, bound: int) -> Value:
    """A bit for each field: it is less than the constant."""
    less: Value = Const(0, len(planes[0]))
    for bit, plane in enumerate(planes):
        less = (~plane | less) if bound >> bit & 1 else (~plane & less)
    return less


def _wire(m: Module, name: str, value: Value) -> Signal:
    signal = Signal(len(value), name=name)
    m.d.comb += signal.eq(value)
    return signal
