"""BankedSram: arbitration, and memory seen by its clients; the macros behind it."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring

from formal.bench import Bench, implies
from formal.proof import Mutant, proof
from formal.sizes import NARROW
from rtl.memory import Sram1R1W, Sram1RW
from rtl.sram import CLIENTS, READERS, WRITERS, BankedSram


def _bank(port: wiring.PureInterface) -> Value:
    """Of two: digits of two bits, whose lowest bits are added up."""
    return port.addr[::2].xor()


@proof(
    BankedSram,
    Mutant("for other in CLIENTS[:position]", "for other in CLIENTS[1:position]"),
    Mutant("getattr(self, other).valid & (banks", "(banks"),
    Mutant("refusals.append(port.valid & blocked)", "refusals.append(blocked)"),
    depth=3,
)
def arbitration(bench: Bench, unit: type) -> None:
    """Of those that want a bank exactly the first is served; who is alone at a bank is served."""
    sram = bench.add("sram", unit(NARROW))
    refused = []
    for position, name in enumerate(CLIENTS):
        port = getattr(sram, name)
        rivals = [getattr(sram, other) for other in CLIENTS[:position]]
        wanted = Cat(other.valid & (_bank(other) == _bank(port)) for other in rivals).any()
        bench.prove(implies(port.valid, port.ready == ~wanted))
        refused.append(port.valid & ~port.ready)
    bench.prove(sram.refused == Cat(refused).any())
    for bank in range(NARROW.sram_banks):
        wants = Cat(getattr(sram, n).valid & (_bank(getattr(sram, n)) == bank) for n in CLIENTS)
        serves = wants & Cat(getattr(sram, name).ready for name in CLIENTS)
        bench.prove((serves & (serves - 1)) == 0)
        bench.prove(serves.any() == wants.any())
    bench.reach(Cat(getattr(sram, name).ready for name in CLIENTS).all())


class _OneRow(Sram1RW):
    """A bank of which one row is modelled; reads of the others return anything.

    All that holds for it holds for the whole bank, if the row may be any.
    """

    def __init__(self, like: Sram1RW, row: Value, anything: Signal) -> None:
        super().__init__(like.width, like.depth, like.granule)
        self._row, self._anything = row, anything

    def elaborate(self, platform: object) -> Module:
        m = Module()
        content, hit = Signal(self.width), Signal()
        m.d.comb += hit.eq(self.en & (self.addr == self._row))
        for index in range(len(self.we)):
            part = slice(index * self.granule, (index + 1) * self.granule)
            with m.If(hit & self.we[index]):
                m.d.sync += content[part].eq(self.wdata[part])
        with m.If(self.en & ~self.we.any()):
            m.d.sync += self.rdata.eq(Mux(hit, content, self._anything))
        return m


@proof(
    BankedSram,
    Mutant("bank.wdata.eq(Mux(takes[WRITERS[0]], first, second))", "bank.wdata.eq(first)"),
    Mutant("reversed(CLIENTS):  #", "CLIENTS:  #"),
    Mutant("source.eq(banks[name])", "source.eq(0)"),
    Mutant("port.mask if name in WRITERS else 0", "port.mask if name == WRITERS[0] else 0"),
    depth=6,
)
def memory(bench: Bench, unit: type) -> None:
    """An accepted read returns what was written last, granule by granule; for any line."""
    sram = unit(NARROW)
    line = bench.symbol("line", len(sram.load_write.addr))
    shift = (NARROW.sram_banks - 1).bit_length()
    for index, bank in enumerate(sram.banks):
        anything = bench.free(f"anything_{index}", bank.width)
        sram.banks[index] = _OneRow(bank, line >> shift, anything)
    bench.add("sram", sram)
    granule = sram.banks[0].granule
    content = Signal(8 * NARROW.line_bytes)
    for name in WRITERS:
        port = getattr(sram, name)
        for index in range(len(port.mask)):
            part = slice(index * granule, (index + 1) * granule)
            with bench.m.If(port.valid & port.ready & port.mask[index] & (port.addr == line)):
                bench.m.d.sync += content[part].eq(port.data[part])
    for name in READERS:
        port = getattr(sram, name)
        answered = bench.past(port.valid & port.ready & (port.addr == line))
        bench.prove(implies(answered, port.data == bench.past(content)))
        bench.reach(answered & (port.data != 0) & (port.data != bench.past(port.data)))


@proof(
    Sram1RW,
    Mutant("read.en.eq(self.en & ~self.we.any())", "read.en.eq(self.en)"),
    Mutant("write.en.eq(self.we & self.en.replicate", "write.en.eq(self.we | self.en.replicate"),
    depth=6,
)
def single_port(bench: Bench, unit: type) -> None:
    """The macro: a read's row from the next cycle until the next read; writes by granule."""
    sram = bench.add("sram", unit(4, 4, 2))
    row, content, expected = bench.symbol("row", 2), Signal(4), Signal(4)
    known = Signal()
    for index in range(2):
        part = slice(2 * index, 2 * index + 2)
        with bench.m.If(sram.en & sram.we[index] & (sram.addr == row)):
            bench.m.d.sync += content[part].eq(sram.wdata[part])
    with bench.m.If(sram.en & ~sram.we.any()):
        bench.m.d.sync += [known.eq(sram.addr == row), expected.eq(content)]
    bench.prove(implies(known, sram.rdata == expected))
    bench.reach(known & (expected == 0b1001))


@proof(
    Sram1R1W,
    Mutant("read.en.eq(self.ren)", "read.en.eq(self.ren & ~self.wen)"),
    depth=6,
)
def two_ports(bench: Bench, unit: type) -> None:
    """The macro: as with one port, and a read beside a write of the same row sees the old one."""
    sram = bench.add("sram", unit(3, 4))
    row, content, expected, known = bench.symbol("row", 2), Signal(3), Signal(3), Signal()
    with bench.m.If(sram.wen & (sram.waddr == row)):
        bench.m.d.sync += content.eq(sram.wdata)
    with bench.m.If(sram.ren):
        bench.m.d.sync += [known.eq(sram.raddr == row), expected.eq(content)]
    bench.prove(implies(known, sram.rdata == expected))
    bench.reach(known & (expected == 5))
