"""ParityBank: a bank of the SRAM that notices wrong bits."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import Out
from amaranth.utils import ceil_log2

from rtl.memory import Sram1RW


class ParityBank(wiring.Component):
    """As `Sram1RW`, and beside it a macro with a parity bit for each granule that can be written.

    Members: those of `Sram1RW`; `failed` and `failed_addr`: what is on `rdata` now, in the cycle
    after its access, has an odd number of wrong bits in some granule, and was read there.
    """

    def __init__(self, width: int, depth: int, granule: int):
        self.content = Sram1RW(width, depth, granule)
        self._parity = Sram1RW(width // granule, depth, 1)
        members = dict(self.content.signature.members)
        super().__init__({**members, "failed": Out(1), "failed_addr": Out(ceil_log2(depth))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.content, m.submodules.parity = content, parity = self.content, self._parity
        read = Signal()
        for macro in (content, parity):
            m.d.comb += [macro.en.eq(self.en), macro.we.eq(self.we), macro.addr.eq(self.addr)]
        m.d.comb += [
            content.wdata.eq(self.wdata),
            parity.wdata.eq(self._of(self.wdata)),
            self.rdata.eq(content.rdata),
            self.failed.eq(read & (parity.rdata != self._of(content.rdata))),
        ]
        m.d.sync += [read.eq(self.en & ~self.we.any()), self.failed_addr.eq(self.addr)]
        return m

    def _of(self, line) -> Cat:
        granule = self.content.granule
        return Cat(line.word_select(i, granule).xor() for i in range(len(line) // granule))
