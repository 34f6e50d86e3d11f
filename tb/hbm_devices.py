"""The HBM devices behind a design in cocotb benches, and what they hold, by address."""

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from isa.hbm import COLUMN_BYTES, COLUMNS
from isa.hbm_map import HbmMap
from sim.hbm_device import HbmDevice
from tb.agents import Ports

_ROW = ("row_cmd", "row_bank", "row_addr")
_COLUMN = ("col_cmd", "col_bank", "col_addr")


class DevicePort:
    """An `HbmDevice` behind the buses ``name`` of a design; an agent.

    `device` is replaced by `restart`: its cycle 0 is the first one after the reset.
    """

    def __init__(self, dut, name: str, mapping: HbmMap, memory: np.ndarray) -> None:
        self.ports, self.generation, self.memory = Ports(dut, name), mapping.generation, memory
        self.restart()

    def restart(self) -> None:
        self.device = HbmDevice(self.generation, self.memory)
        self.rdata = self.device.rdata

    def idle(self) -> None:
        self.ports.set("rdata", 0)

    def drive(self) -> None:
        self.ports.set("rdata", self.rdata)

    def sample(self) -> None:
        ports, bus = self.ports, {}
        for names in (_ROW, _COLUMN):
            if ports.get(names[0]):
                bus |= {name: ports.get(name) for name in names}
        if mask := ports.get("wmask"):
            bus |= {"wmask": mask, "wdata": ports.get("wdata")}
        self.bus = bus
        self.rdata = self.device.tick(**bus)
        if bus:
            assert self.device.violation is None, self.device.violation


class Devices:
    """Every pseudo-channel of a mapping, behind the buses ``names``; `agents` are their ports.

    ``content``: what they hold at first, by address, all of their bytes.
    """

    def __init__(self, dut, mapping: HbmMap, names: list[str], content: bytes) -> None:
        places = mapping.locate(np.arange(0, mapping.bytes, COLUMN_BYTES))
        rows = places.bank_index * mapping.generation.rows + places.row
        self._channel, self._column = places.channel, rows * COLUMNS + places.column
        columns = np.frombuffer(content, np.uint8).reshape(-1, COLUMN_BYTES)
        self.agents = []
        for index, name in enumerate(names):
            memory = np.empty(mapping.generation.bytes, np.uint8)
            mine = self._channel == index
            memory.reshape(-1, COLUMN_BYTES)[self._column[mine]] = columns[mine]
            self.agents.append(DevicePort(dut, name, mapping, memory))
        self._dut = dut

    def content(self) -> bytes:
        """What they hold now, by address."""
        columns = np.empty((len(self._channel), COLUMN_BYTES), np.uint8)
        for index, port in enumerate(self.agents):
            mine = self._channel == index
            columns[mine] = port.memory.reshape(-1, COLUMN_BYTES)[self._column[mine]]
        return columns.tobytes()

    async def run(self) -> None:
        """Serve for ever, beside whoever else drives the design."""
        for port in self.agents:
            port.restart()
        while True:
            for port in self.agents:
                port.drive()
                port.sample()
            await FallingEdge(self._dut.clk)

    def start(self) -> None:
        """`run` as a task of its own; to be called where the reset ends."""
        cocotb.start_soon(self.run())
