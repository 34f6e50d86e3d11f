"""Names of signals that are assigned several at once."""

from itertools import pairwise

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.emit import emit


class Several(wiring.Component):
    """Makes signals in all the ways in which they are named."""

    i: In(4)
    o: Out(4)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        one, (two, three) = Signal(4), (Signal(4), Signal(4))
        first, chosen = Signal(4), Signal(4, name="given")
        other, last = (
            Signal(4),
            Signal(4),
        )
        chain = (self.i, one, two, three, first, chosen, other, last)
        for before, after in pairwise(chain):
            m.d.sync += after.eq(before)
        m.d.comb += self.o.eq(last)
        return m


def test_tuples_name_their_signals() -> None:
    text = emit(Several(), "several")
    for name in ("one", "first", "given", "other", "last"):
        assert f" {name} =" in text or f" {name};" in text, name
    assert "chosen" not in text


def test_nested_tuples_keep_amaranths_names() -> None:
    assert "signal" in emit(Several(), "several")


def test_outside_amaranth_is_as_it_was() -> None:
    emit(Several(), "several")
    one, _two = Signal(), Signal()
    assert one.name == "$signal"
