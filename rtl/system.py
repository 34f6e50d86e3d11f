"""System: the core and its HBM controllers; what is left outside are the devices and a host."""

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.hbm import COLUMN_BYTES
from rtl.hbm_memory import HBM_COUNTERS_LAYOUT, HbmMemory
from rtl.hbm_port import DevicePort
from rtl.hbm_split import channel_names
from rtl.top import CONTROL, Core


class System(wiring.Component):
    """The core with one controller for each pseudo-channel of its configuration, which must have
    HBM. One clock, that of the HBM's commands.

    Members
    -------
    pc0, pc1, … : buses of the pseudo-channels
    memory_idle : nothing is left to be done but refreshes
    memory_counters : of the controllers, since the program began
    others : see `rtl.top.Core`
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        device = DevicePort(config.hbm_mapping.generation)
        channels = {name: Out(device) for name in channel_names(config)}
        super().__init__(
            {
                **CONTROL,
                "memory_idle": Out(1),
                "memory_counters": Out(HBM_COUNTERS_LAYOUT),
                **channels,
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.core = core = Core(self._config)
        m.submodules.memory = memory = HbmMemory(self._config)
        wiring.connect(m, core.axi, memory.axi)
        for name, member in CONTROL.items():
            ends = getattr(core, name), getattr(self, name)
            to, source = ends if member.flow == In else reversed(ends)
            m.d.comb += to.eq(source)
        for name in channel_names(self._config):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(memory, name))
        m.d.comb += [
            memory.memory_columns.eq(self.memory_atoms * (HBM_ATOM_BYTES // COLUMN_BYTES)),
            self.memory_idle.eq(memory.idle),
            memory.clear.eq(self.start & ~core.running),
            self.memory_counters.eq(memory.counters),
        ]
        return m
