"""Chip: the core, with its HBM controllers if it has HBM, behind the host's registers."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from isa import csr
from isa.config import ChipConfig
from rtl.axi import AxiPort
from rtl.axi_lite import AxiLitePort
from rtl.csr import ControlRegisters
from rtl.hbm_port import DevicePort
from rtl.hbm_split import channel_names
from rtl.system import System
from rtl.top import CONTROL, Core


class Chip(wiring.Component):
    """What a system connects: a host on `csr`; HBM devices on `pc0`, `pc1`, …, or any memory on
    `axi`. One clock, one reset."""

    def __init__(self, config: ChipConfig):
        self._config = config
        self._memory = {"axi": Out(AxiPort(config))}
        if config.hbm:
            device = DevicePort(config.hbm_mapping.generation)
            self._memory = {name: Out(device) for name in channel_names(config)}
        super().__init__({**self._memory, "csr": In(AxiLitePort(csr.ADDRESS_BITS))})

    def elaborate(self, platform):
        m = Module()
        m.submodules.core = core = (System if self._config.hbm else Core)(self._config)
        m.submodules.registers = registers = ControlRegisters(self._config)
        for name in self._memory:
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(core, name))
        wiring.connect(m, wiring.flipped(self.csr), registers.bus)
        for name, member in CONTROL.items():
            ends = getattr(core, name), getattr(registers, name)
            to, source = ends if member.flow == In else reversed(ends)
            m.d.comb += to.eq(source)
        if self._config.hbm:
            m.d.comb += registers.memory_counters.eq(core.memory_counters)
        return m
