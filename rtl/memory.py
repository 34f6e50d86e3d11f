"""The two SRAM macros of the chip, as components.

Emitted for an ASIC they are instances of `jx_sram` and `jx_sram_1r1w` (rtl/sram.sv, which a flow
replaces by its compiled macros); in Amaranth's simulator they are `amaranth.lib.memory`. Both forms
start as zeros, return 0 for an address at or beyond `depth`, and drop a write to one.
"""

from amaranth.hdl import ClockSignal, Instance, MemoryData, Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from rtl.platform import is_asic


def _check(name: str, field: str, value: int, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise ValueError(f"{name} {field} must be an integer of at least {least}, not {value!r}")


class Sram1RW(wiring.Component):
    """Single-port SRAM: one read or one write per cycle.

    Latency: 1 cycle, a read requested in cycle t is on `rdata` from cycle t+1 on and stays until
    the next read; a write (`en` with any bit of `we`) leaves `rdata` as it was. No back-pressure.

    Members: `en` cycle is an access; `we` one bit per `granule` bits of `wdata`, 0 for a read;
    `addr`; `wdata`; `rdata`. `data` is the content, for `ctx.get(sram.data[i])` in simulations.
    Raises ValueError for a width that is no multiple of `granule`, or a depth below 2.
    """

    def __init__(self, width: int, depth: int, granule: int | None = None) -> None:
        granule = width if granule is None else granule
        _check("Sram1RW", "width", width, 1)
        _check("Sram1RW", "depth", depth, 2)
        _check("Sram1RW", "granule", granule, 1)
        if width % granule:
            raise ValueError(f"Sram1RW width must be a multiple of granule {granule}, not {width}")
        self.width, self.depth, self.granule = width, depth, granule
        self.data = MemoryData(shape=width, depth=depth, init=[])
        super().__init__(
            {
                "en": In(1),
                "we": In(width // granule),
                "addr": In(ceil_log2(depth)),
                "wdata": In(width),
                "rdata": Out(width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if is_asic(platform):
            m.submodules.macro = Instance(
                "jx_sram",
                p_WIDTH=self.width,
                p_DEPTH=self.depth,
                p_GRANULE=self.granule,
                i_clk=ClockSignal(),
                i_en=self.en,
                i_we=self.we,
                i_addr=self.addr,
                i_wdata=self.wdata,
                o_rdata=self.rdata,
            )
            return m
        m.submodules.cells = cells = memory.Memory(self.data)
        write = cells.write_port(granularity=self.granule)
        read = cells.read_port()
        m.d.comb += [
            write.en.eq(self.we & self.en.replicate(len(self.we))),
            write.addr.eq(self.addr),
            write.data.eq(self.wdata),
            read.en.eq(self.en & ~self.we.any()),
            read.addr.eq(self.addr),
            self.rdata.eq(read.data),
        ]
        return m


class Sram1R1W(wiring.Component):
    """Two-port SRAM: one read and one write per cycle, at any addresses.

    Latency: 1 cycle, `rdata` holds between reads. A read of the address that is being written
    returns the old row. No back-pressure.

    Members: `ren`, `raddr`, `rdata`; `wen`, `waddr`, `wdata`. `data` as in `Sram1RW`.
    Raises ValueError for a width below 1 or a depth below 2.
    """

    def __init__(self, width: int, depth: int) -> None:
        _check("Sram1R1W", "width", width, 1)
        _check("Sram1R1W", "depth", depth, 2)
        self.width, self.depth = width, depth
        self.data = MemoryData(shape=width, depth=depth, init=[])
        addr_bits = ceil_log2(depth)
        super().__init__(
            {
                "ren": In(1),
                "raddr": In(addr_bits),
                "rdata": Out(width),
                "wen": In(1),
                "waddr": In(addr_bits),
                "wdata": In(width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if is_asic(platform):
            m.submodules.macro = Instance(
                "jx_sram_1r1w",
                p_WIDTH=self.width,
                p_DEPTH=self.depth,
                i_clk=ClockSignal(),
                i_ren=self.ren,
                i_raddr=self.raddr,
                o_rdata=self.rdata,
                i_wen=self.wen,
                i_waddr=self.waddr,
                i_wdata=self.wdata,
            )
            return m
        m.submodules.cells = cells = memory.Memory(self.data)
        write, read = cells.write_port(), cells.read_port()
        m.d.comb += [
            write.en.eq(self.wen),
            write.addr.eq(self.waddr),
            write.data.eq(self.wdata),
            read.en.eq(self.ren),
            read.addr.eq(self.raddr),
            self.rdata.eq(read.data),
        ]
        return m
