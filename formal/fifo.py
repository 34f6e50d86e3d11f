"""The queue in front of each engine and behind each reader: nothing lost, nothing overtaken."""

from amaranth.lib.fifo import SyncFIFO

from formal.bench import Bench, implies
from formal.follow import follow
from formal.proof import Mutant, proof

_DEPTH = 4
_WIDTH = 4


@proof(
    SyncFIFO,
    Mutant("consume.eq(_incr(consume, self.depth))", "consume.eq(consume + 1 + (produce == 2))"),
    Mutant("self.w_rdy.eq(self.level != self.depth)", "self.w_rdy.eq(1)"),
    depth=12,
)
def order(bench: Bench, unit: type) -> None:
    """A word that was written is read, once, behind those written before; the level is exact."""
    fifo = unit(width=_WIDTH, depth=_DEPTH)
    bench.m.submodules.fifo = fifo
    bench.m.d.comb += [
        fifo.w_en.eq(bench.free("w_en")),
        fifo.r_en.eq(bench.free("r_en")),
        fifo.w_data.eq(bench.free("w_data", _WIDTH)),
    ]
    word = bench.symbol("word", _WIDTH)
    word_in = follow(bench, fifo.w_en & fifo.w_rdy, fifo.r_en & fifo.r_rdy, bits=4)
    bench.assume(implies(word_in.enters, fifo.w_data == word))
    bench.prove(implies(word_in.first, fifo.r_data == word))
    bench.prove(fifo.level == word_in.items)
    bench.prove(fifo.r_rdy == (word_in.items != 0))
    bench.prove(fifo.w_rdy == (word_in.items != _DEPTH))
    bench.reach(word_in.first & (word_in.items == _DEPTH))
