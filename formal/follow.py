"""One item, marked at a free moment, followed through a unit that keeps order: it stands for all.

Since the moment is free, what holds for the marked item holds for each.
"""

from dataclasses import dataclass

from amaranth.hdl import Signal, Value

from formal.bench import Bench


@dataclass(frozen=True)
class Followed:
    """``enters``: the marked item goes in, in this cycle; ``inside``: it is in the unit; ``first``:
    and it is the next to leave; ``items``: how many are inside."""

    enters: Signal
    inside: Signal
    first: Signal
    items: Signal


def follow(bench: Bench, entered: Value, left: Value, bits: int) -> Followed:
    """Follow one of the items that enter and leave in order; ``bits``: of the number inside."""
    m = bench.m
    items = bench.count(bits, entered, left)
    enters, inside, first, ahead = Signal(), Signal(), Signal(), Signal(bits)
    m.d.comb += [
        enters.eq(entered & bench.free("mark") & ~bench.sticky(enters)),
        first.eq(inside & (ahead == 0)),
    ]
    with m.If(enters):
        m.d.sync += [inside.eq(1), ahead.eq(items - left)]
    with m.Elif(inside & left):
        m.d.sync += [ahead.eq(ahead - 1), inside.eq(~first)]
    return Followed(enters, inside, first, items)
