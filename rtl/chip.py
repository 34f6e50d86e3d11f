"""Chip: the core behind the host's registers."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from isa import csr
from isa.config import ChipConfig
from rtl.axi import AxiPort
from rtl.axi_lite import AxiLitePort
from rtl.csr import ControlRegisters
from rtl.top import CONTROL, Core


class Chip(wiring.Component):
    """What a system connects: a host on `csr`, memory on `axi`. One clock, one reset."""

    def __init__(self, config: ChipConfig):
        self._config = config
        super().__init__({"axi": Out(AxiPort(config)), "csr": In(AxiLitePort(csr.ADDRESS_BITS))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = Core(self._config)
        m.submodules.registers = registers = ControlRegisters(self._config)
        wiring.connect(m, wiring.flipped(self.axi), core.axi)
        wiring.connect(m, wiring.flipped(self.csr), registers.bus)
        for name, member in CONTROL.items():
            ends = getattr(core, name), getattr(registers, name)
            to, source = ends if member.flow == In else reversed(ends)
            m.d.comb += to.eq(source)
        return m
