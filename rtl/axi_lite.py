"""AXI4-Lite: the signature, and a slave that turns its channels into single accesses."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

DATA_BITS = 32
OKAY, SLVERR = 0, 2


class AxiLitePort(wiring.Signature):
    """AXI4-Lite with 32-bit data, seen from the master; members have the standard's names."""

    def __init__(self, address_bits: int):
        members: dict[str, object] = {}
        for channel in ("aw", "ar"):
            members |= {f"{channel}addr": Out(address_bits), f"{channel}prot": Out(3)}
            members |= {f"{channel}valid": Out(1), f"{channel}ready": In(1)}
        members |= {"wdata": Out(DATA_BITS), "wstrb": Out(DATA_BITS // 8)}
        members |= {"wvalid": Out(1), "wready": In(1)}
        members |= {"bresp": In(2), "bvalid": In(1), "bready": Out(1)}
        members |= {"rdata": In(DATA_BITS), "rresp": In(2), "rvalid": In(1), "rready": Out(1)}
        super().__init__(members)


class AxiLiteSlave(wiring.Component):
    """One write and one read at a time, independently of each other.

    Latency: a response comes 2 cycles after the last of a request's channels; throughput: a write
    or read each 3 cycles. `prot` is ignored, and so is where in its word an address lies.

    Members
    -------
    bus : the master's port
    write, write_addr, write_data, write_strb : one access, for one cycle; `write_error`: answer
        in the same cycle
    read, read_addr : one access, for one cycle; `read_data`, `read_error`: answer in the same cycle
    """

    def __init__(self, address_bits: int):
        super().__init__(
            {
                "bus": In(AxiLitePort(address_bits)),
                "write": Out(1),
                "write_addr": Out(address_bits),
                "write_data": Out(DATA_BITS),
                "write_strb": Out(DATA_BITS // 8),
                "write_error": In(1),
                "read": Out(1),
                "read_addr": Out(address_bits),
                "read_data": In(DATA_BITS),
                "read_error": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._write(m)
        self._read(m)
        return m

    def _write(self, m):
        bus, addressed, filled = self.bus, Signal(), Signal()
        write_word = Signal(len(bus.awaddr) - 2)
        m.d.comb += [
            bus.awready.eq(~addressed),
            bus.wready.eq(~filled),
            self.write_addr.eq(write_word << 2),
            self.write.eq(addressed & filled & ~bus.bvalid),
        ]
        with m.If(bus.awvalid & bus.awready):
            m.d.sync += [addressed.eq(1), write_word.eq(bus.awaddr[2:])]
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [filled.eq(1), self.write_data.eq(bus.wdata)]
            m.d.sync += self.write_strb.eq(bus.wstrb)
        with m.If(bus.bvalid & bus.bready):
            m.d.sync += bus.bvalid.eq(0)
        with m.If(self.write):
            m.d.sync += [
                addressed.eq(0),
                filled.eq(0),
                bus.bvalid.eq(1),
                bus.bresp.eq(Mux(self.write_error, SLVERR, OKAY)),
            ]

    def _read(self, m):
        bus, read_word = self.bus, Signal(len(self.bus.araddr) - 2)
        m.d.comb += [
            self.read_addr.eq(read_word << 2),
            bus.arready.eq(~self.read & ~bus.rvalid),
        ]
        m.d.sync += self.read.eq(bus.arvalid & bus.arready)
        m.d.sync += read_word.eq(bus.araddr[2:])
        with m.If(bus.rvalid & bus.rready):
            m.d.sync += bus.rvalid.eq(0)
        with m.If(self.read):
            m.d.sync += [
                bus.rvalid.eq(1),
                bus.rdata.eq(self.read_data),
                bus.rresp.eq(Mux(self.read_error, SLVERR, OKAY)),
            ]
