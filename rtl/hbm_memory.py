"""HbmMemory: the chip's memory port in front, all pseudo-channels behind."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from isa.counters import COUNTER_BITS, HBM_COUNTERS, HBM_LATENCIES, HBM_LATENCY_EDGES
from rtl.axi import AxiPort
from rtl.hbm_burst import SIZE_BITS
from rtl.hbm_controller import EVENTS, HbmController
from rtl.hbm_port import DevicePort
from rtl.hbm_split import channel_names, channel_port
from rtl.hbm_split_reads import SplitReads
from rtl.hbm_split_writes import SplitWrites
from rtl.platform import place

HBM_COUNTERS_LAYOUT = data.StructLayout(
    {name: unsigned(COUNTER_BITS) for name in (*HBM_COUNTERS, *HBM_LATENCIES)}
)


class HbmMemory(wiring.Component):
    """One controller for each pseudo-channel; addresses are spread over them as the mapping says.

    Latency of a read of one beat, all idle and the row's bank closed, from the cycle of the address
    to that of the beat: that of a controller, 1 cycle, and one for each of its beats after the
    first.

    Members
    -------
    axi : memory as the core sees it (master's point of view)
    memory_columns : size of the memory in columns of 32 bytes
    idle : every burst is answered, no access waits; memory may still have to be refreshed
    clear : counters begin at 0
    counters : `isa.counters.HBM_COUNTERS` and `HBM_LATENCIES`, of all channels together
    pc0, pc1, … : buses of the devices
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        generation = config.hbm_mapping.generation
        super().__init__(
            {
                "axi": In(AxiPort(config)),
                "memory_columns": In(SIZE_BITS),
                "idle": Out(1),
                "clear": In(1),
                "counters": Out(HBM_COUNTERS_LAYOUT),
                **{name: Out(DevicePort(generation)) for name in channel_names(config)},
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.reads = reads = SplitReads(config)
        m.submodules.writes = writes = SplitWrites(config)
        for name, member in AxiPort(config).members.items():
            ends = getattr(self.axi, name), getattr(_half(name, reads.axi, writes.axi), name)
            source, to = ends if member.flow == Out else reversed(ends)
            m.d.comb += to.eq(source)
        controllers = []
        for name in channel_names(config):
            asks = getattr(reads, name), getattr(writes, name)
            controllers.append(self._controller(m, platform, name, *asks))
        at_rest = [reads.idle, writes.idle, *(outputs["idle"] for outputs in controllers)]
        m.d.comb += [
            reads.memory_columns.eq(self.memory_columns),
            writes.memory_columns.eq(self.memory_columns),
            self.idle.eq(Cat(at_rest).all()),
        ]
        self._count(m, controllers)
        return m

    def _count(self, m: Module, controllers: list[dict[str, Value]]) -> None:
        """Add up what the controllers report."""
        rises: dict[str, list[Value]] = {name: [] for name in HBM_COUNTERS_LAYOUT.members}
        for outputs in controllers:
            events = EVENTS(outputs["events"])
            for name in HBM_COUNTERS:
                rises[name].append(events[name])
            below = [outputs["latency"] < edge for edge in HBM_LATENCY_EDGES]
            for name, low, high in zip(HBM_LATENCIES, [0, *below], [*below, 1], strict=True):
                rises[name].append(outputs["answered"] & high & ~low)
        for name, by in rises.items():
            counter = Signal(COUNTER_BITS, name=name)
            m.d.comb += getattr(self.counters, name).eq(counter)
            m.d.sync += counter.eq(Mux(self.clear, 0, counter + sum(by)))

    def _controller(
        self, m: Module, platform: object, name: str, reads, writes
    ) -> dict[str, Value]:
        """One controller between the splitters and its device; returns its outputs."""

        def make() -> HbmController:
            return HbmController(
                self._config.hbm_mapping.generation,
                self._config.hbm_mapping,
                depth=self._config.hbm_depth,
                id_bits=1,
                per_bank=self._config.hbm_refresh == "bank",
                ecc=self._config.hbm_ecc == "secded",
            )

        asks = {n: _half(n, reads, writes) for n in channel_port().members}
        device = getattr(self, name)
        inputs = {"memory_columns": self.memory_columns}
        inputs |= {"device_rdata": device.rdata, "device_recc": device.recc}
        for signal, member in channel_port().members.items():
            if member.flow == Out:
                inputs[f"axi_{signal}"] = getattr(asks[signal], signal)
        outputs = place(m, platform, name, "jx_hbm_controller", make, inputs)
        for port, value in outputs.items():
            side, _, signal = port.partition("_")
            if side == "axi":
                m.d.comb += getattr(asks[signal], signal).eq(value)
            elif side == "device":
                m.d.comb += getattr(device, signal).eq(value)
        return outputs


def _half(name: str, reads: object, writes: object) -> object:
    """The one whose channels have the AXI signal ``name``."""
    return reads if name.startswith(("ar", "r")) else writes
