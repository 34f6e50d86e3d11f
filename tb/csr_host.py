"""The host of benches: cocotbext-axi's AXI4-Lite master, which knows the registers by name."""

from cocotb.triggers import FallingEdge
from cocotbext.axi import AxiLiteBus, AxiLiteMaster, AxiResp

from isa import csr
from isa.csr import BY_NAME
from tb.agents import shake
from tb.axi_pauses import pause_all, quiet
from tb.coverage import Coverage


def access_point(cover: Coverage) -> None:
    """What `Host` hits: every register read and written."""
    cover.point("access", {"register": list(BY_NAME), "kind": ["read", "write"]})


class Host:
    """Reads and writes registers by their names."""

    def __init__(self, dut, prefix: str, stall: float, cover: Coverage) -> None:
        self.cover = cover
        quiet(dut, prefix)
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, prefix), dut.clk, dut.rst)
        pause_all(self.master, stall)

    async def read(self, name: str) -> int:
        answer = await self.master.read(BY_NAME[name].offset, csr.WORD_BYTES)
        assert answer.resp == AxiResp.OKAY, name
        self.cover.hit("access", register=name, kind="read")
        return int.from_bytes(answer.data, "little")

    async def write(self, name: str, value: int) -> AxiResp:
        data = value.to_bytes(csr.WORD_BYTES, "little")
        answer = await self.master.write(BY_NAME[name].offset, data)
        self.cover.hit("access", register=name, kind="write")
        return answer.resp


async def begin(dut, prefix: str, stall: float, cover: Coverage) -> Host:
    """Clock, reset, and the host behind the AXI4-Lite port ``prefix``."""
    await shake(dut)
    host = Host(dut, prefix, stall, cover)
    dut.rst.value = 1
    for _ in range(3):
        await FallingEdge(dut.clk)
    dut.rst.value = 0
    await FallingEdge(dut.clk)
    return host
