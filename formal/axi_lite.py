"""AxiLiteSlave: the standard's rules of a slave, and one access for each request."""

from amaranth.hdl import Cat, Signal

from formal.bench import Bench, implies
from formal.proof import Mutant, proof
from rtl.axi_lite import OKAY, SLVERR, AxiLiteSlave

_ADDRESS_BITS = 4


@proof(
    AxiLiteSlave,
    Mutant("self.write.eq(addressed & filled & ~bus.bvalid)", "self.write.eq(addressed & filled)"),
    Mutant("bus.wready.eq(~filled)", "bus.wready.eq(1)"),
    Mutant("self.write_strb.eq(bus.wstrb)", "self.write_strb.eq(~0)"),
    depth=8,
)
def writes(bench: Bench, unit: type) -> None:
    """The n-th address and the n-th data make the n-th access and the n-th response."""
    slave = bench.add("slave", unit(_ADDRESS_BITS))
    m, bus = bench.m, slave.bus
    addressed, filled = bus.awvalid & bus.awready, bus.wvalid & bus.wready
    ended = bus.bvalid & bus.bready
    bench.assume(bench.steady(bus.awvalid, bus.awready, bus.awaddr))
    bench.assume(bench.steady(bus.wvalid, bus.wready, Cat(bus.wdata, bus.wstrb)))
    bench.prove(bench.steady(bus.bvalid, bus.bready, bus.bresp))
    addresses, words = bench.count(2, addressed, slave.write), bench.count(2, filled, slave.write)
    bench.prove((addresses <= 1) & (words <= 1))
    bench.prove(implies(slave.write, (addresses == 1) & (words == 1)))
    address, word, error = Signal(_ADDRESS_BITS), Signal(36), Signal()
    with m.If(addressed):
        m.d.sync += address.eq(bus.awaddr)
    with m.If(filled):
        m.d.sync += word.eq(Cat(bus.wdata, bus.wstrb))
    with m.If(slave.write):
        m.d.sync += error.eq(slave.write_error)
        bench.prove(slave.write_addr == address >> 2 << 2)
        bench.prove(Cat(slave.write_data, slave.write_strb) == word)
    owed = bench.count(2, slave.write, ended)
    bench.prove(bus.bvalid == (owed == 1))
    bench.prove(owed <= 1)
    with m.If(bus.bvalid):
        bench.prove(bus.bresp == Cat(0, error))
    # No channel waits for another one, nor for itself.
    waits = bench.count(3, 1)
    with m.If(slave.write | (addresses == 0) | (words == 0) | bus.bvalid):
        m.d.sync += waits.eq(0)
    bench.prove(waits == 0)
    bench.prove(implies(addresses == 0, bus.awready) & implies(words == 0, bus.wready))
    bench.reach(bus.bvalid & (bus.bresp == SLVERR) & bench.past(bus.bresp == OKAY))


@proof(
    AxiLiteSlave,
    Mutant("bus.arready.eq(~self.read & ~bus.rvalid)", "bus.arready.eq(~self.read)"),
    Mutant("with m.If(bus.rvalid & bus.rready):", "with m.If(bus.rvalid):"),
    depth=8,
)
def reads(bench: Bench, unit: type) -> None:
    """Each address makes one access and one response, which stays until it is taken."""
    slave = bench.add("slave", unit(_ADDRESS_BITS))
    m, bus = bench.m, slave.bus
    asked, ended = bus.arvalid & bus.arready, bus.rvalid & bus.rready
    bench.assume(bench.steady(bus.arvalid, bus.arready, bus.araddr))
    bench.prove(bench.steady(bus.rvalid, bus.rready, Cat(bus.rdata, bus.rresp)))
    bench.prove(slave.read == bench.past(asked))
    bench.prove(implies(slave.read, slave.read_addr == bench.past(bus.araddr) >> 2 << 2))
    owed = bench.count(2, slave.read, ended)
    bench.prove((owed <= 1) & (bus.rvalid == (owed == 1)))
    answer = Signal(33)
    with m.If(slave.read):
        m.d.sync += answer.eq(Cat(slave.read_data, slave.read_error))
    with m.If(bus.rvalid):
        bench.prove(Cat(bus.rdata, bus.rresp[1]) == answer)
        bench.prove(bus.rresp[0] == 0)
    bench.prove(implies((owed == 0) & ~slave.read, bus.arready))
    bench.reach(ended & bench.sticky(ended))
