"""ControlRegisters: the host's view of the core, `isa.csr`, on AXI4-Lite."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from isa import csr
from isa.config import ChipConfig
from isa.counters import COUNTERS, CYCLE_CLASSES
from isa.csr import BY_NAME, REGISTERS
from isa.table import Engine
from rtl.axi_lite import DATA_BITS, AxiLitePort, AxiLiteSlave
from rtl.hbm_memory import HBM_COUNTERS_LAYOUT
from rtl.top import CONTROL

_READ = ("trap_pc", "trap_where", "trap_atom", "conflicts", "bus_errors")
_WRITTEN = [register.name for register in REGISTERS if register.access == "rw"]


class ControlRegisters(wiring.Component):
    """The registers. Unknown addresses, writes to what is read only, and writes while a program
    runs answer with an error and change nothing.

    `start` follows the write to `control` by 1 cycle. Byte strobes count; `prot` does not.

    Members: `bus` the host's port; `memory_counters` of `rtl.hbm_memory`; those of
    `rtl.top.CONTROL`, seen from the other side.
    """

    def __init__(self, config: ChipConfig):
        self._digest = int(config.digest(), 16)
        core = {name: member.flip() for name, member in CONTROL.items()}
        super().__init__(
            {
                "bus": In(AxiLitePort(csr.ADDRESS_BITS)),
                "memory_counters": In(HBM_COUNTERS_LAYOUT),
                **core,
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.slave = slave = AxiLiteSlave(csr.ADDRESS_BITS)
        wiring.connect(m, wiring.flipped(self.bus), slave.bus)
        self._write(m, slave)
        self._read(m, slave)
        return m

    def _write(self, m, slave):
        strobes = Cat(bit.replicate(8) for bit in slave.write_strb)
        m.d.comb += slave.write_error.eq(1)
        m.d.sync += self.start.eq(0)
        with m.If(~self.running):
            with m.Switch(slave.write_addr):
                for name in _WRITTEN:
                    register = getattr(self, name)
                    with m.Case(BY_NAME[name].offset):
                        m.d.comb += slave.write_error.eq(0)
                        with m.If(slave.write):
                            m.d.sync += register.eq(
                                (register & ~strobes) | (slave.write_data & strobes)
                            )
                with m.Case(BY_NAME["control"].offset):
                    m.d.comb += slave.write_error.eq(0)
                    bits = slave.write_data & strobes & csr.START
                    m.d.sync += self.start.eq(slave.write & bits.any())

    def _read(self, m, slave):
        high = Signal(DATA_BITS)
        with m.If(slave.read & (slave.read_addr == BY_NAME["cycles_low"].offset)):
            m.d.sync += high.eq(self.cycles[DATA_BITS:])
        values = self._values(high)
        m.d.comb += slave.read_error.eq(1)
        with m.Switch(slave.read_addr):
            for register in REGISTERS:
                with m.Case(register.offset):
                    m.d.comb += [
                        slave.read_error.eq(0),
                        slave.read_data.eq(values[register.name]),
                    ]

    def _values(self, high) -> dict:
        """Register → what reading it gives."""
        values = {name: getattr(self, name) for name in _WRITTEN}
        values |= {name: getattr(self, name) for name in _READ}
        values |= {name: getattr(self.counters, name) for name in COUNTERS}
        for name in HBM_COUNTERS_LAYOUT.members:
            values[csr.hbm_name(name)] = self.memory_counters[name]
        for engine in Engine:
            for name in CYCLE_CLASSES:
                values[csr.class_name(engine, name)] = self.classes[engine.name.lower()][name]
        return values | {
            "id": Const(csr.ID, DATA_BITS),
            "version": Const(csr.VERSION, DATA_BITS),
            "config_low": Const(self._digest & 0xFFFFFFFF, DATA_BITS),
            "config_high": Const(self._digest >> DATA_BITS, DATA_BITS),
            "control": Const(0, DATA_BITS),
            "status": Cat(self.running, self.halted, self.trapped),
            "trap_cause": Mux(self.trapped, self.trap_cause, 0),
            "cycles_low": self.cycles[:DATA_BITS],
            "cycles_high": high,
        }
