"""ScalarMemory: one word a time, by the rules of both of its multiplexers."""

from amaranth.hdl import Cat, Mux, Signal

from formal.bench import Bench, implies
from formal.clients import WriteBursts
from formal.proof import Mutant, proof
from formal.sizes import SMALL
from rtl.scalar import ScalarMemory

_CONFIG = SMALL.replace(line_bytes=8, axi_bytes=8)


def _access(bench: Bench, unit: ScalarMemory, wanted: Signal) -> None:
    """The sequencer's side: one kind of access, stable until it is cleared."""
    kept = Cat(unit.load, unit.store, unit.address, unit.data)
    begun = bench.past(wanted & ~unit.clear)
    bench.assume(implies(begun, wanted & (kept == bench.past(kept))))
    bench.assume(~(unit.load & unit.store) & (unit.address % 4 == 0))
    bench.assume(implies(unit.clear, ~unit.pending))


@proof(
    ScalarMemory,
    Mutant("write.valid.eq(self.store & ~sent)", "write.valid.eq(self.store)"),
    Mutant("(lane == index).replicate", "(lane != index).replicate"),
    Mutant("self.finished | read.valid | write.response", "self.finished | write.request.ready"),
    Mutant("aligned = (self.address >> high) << high", "aligned = self.address"),
    depth=8,
)
def stores(bench: Bench, unit: type) -> None:
    """A store is one burst of one beat with one word enabled; it ends when it is acknowledged."""
    scalar = bench.add("scalar", unit(_CONFIG))
    write, wanted = scalar.write, scalar.store
    _access(bench, scalar, wanted)
    bench.assume(~scalar.load & ~scalar.read.valid)
    bursts = WriteBursts(bench, write, bench.prove)
    made = bench.count(1, bursts.finished, write.response)
    bench.assume(implies(write.response, made))
    bench.assume(implies(scalar.clear & wanted, scalar.finished))
    with bench.m.If(write.request.valid):
        bench.prove(write.request.payload.addr == scalar.address >> 3 << 3)
        bench.prove(write.request.payload.len == 0)
    with bench.m.If(write.valid):
        bench.prove(write.last)
        bench.prove(write.strb == Mux(scalar.address[2], 0xF0, 0x0F))
        bench.prove(write.data.word_select(scalar.address[2], 32) == scalar.data)
    answered = Signal()
    bench.m.d.sync += answered.eq((answered | write.response) & ~scalar.clear)
    bench.prove(scalar.finished == answered)
    bench.reach(scalar.finished & bench.sticky(scalar.clear & wanted))


@proof(
    ScalarMemory,
    Mutant("read.request.valid.eq(self.load & ~asked)", "read.request.valid.eq(self.load)"),
    Mutant("read.data.word_select(lane, VALUE_BITS)", "read.data[:VALUE_BITS]"),
    depth=8,
)
def loads(bench: Bench, unit: type) -> None:
    """A load is one burst of one beat; the word addressed stays until the access is cleared."""
    scalar = bench.add("scalar", unit(_CONFIG))
    read, wanted = scalar.read, scalar.load
    request = read.request
    _access(bench, scalar, wanted)
    bench.assume(~scalar.store & ~scalar.write.response)
    owed = bench.count(2, request.valid & request.ready, read.valid)
    bench.assume(implies(read.valid, owed != 0))
    bench.assume(implies(scalar.clear & wanted, scalar.finished))
    bench.prove(owed <= 1)
    bench.prove(read.ready)
    bench.prove(bench.steady(request.valid, request.ready, request.payload))
    with bench.m.If(request.valid):
        bench.prove((request.payload.addr == scalar.address >> 3 << 3) & (request.payload.len == 0))
    word, answered = Signal(32), Signal()
    bench.m.d.sync += answered.eq((answered | read.valid) & ~scalar.clear)
    with bench.m.If(read.valid):
        bench.m.d.sync += word.eq(read.data.word_select(scalar.address[2], 32))
    bench.prove(scalar.finished == answered)
    bench.prove(implies(answered, scalar.value == word))
    bench.reach(scalar.finished & bench.sticky(scalar.clear & wanted))
