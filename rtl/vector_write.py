"""WriteBack: results of the vector unit into the SRAM."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from rtl.float import split, wire
from rtl.platform import place
from rtl.ports import WritePort
from rtl.vector_lanes import result_layout
from rtl.vector_operand import operand_address_bits, vector_bits
from rtl.vector_result import ResultLane
from rtl.vector_settings import BYTE_KINDS, Kind, settings_layout
from rtl.vector_walk import Walker, walk_layout


class WriteBack(wiring.Component):
    """Converts results to the type of the destination, zeroes lanes behind its columns, writes.

    Latency 1 cycle to the port, throughput one vector a cycle, back-pressure from the port.

    Members
    -------
    start : pulse, an instruction begins
    walk : destination, see `walk_layout`
    settings : of the instruction, see `settings_layout`
    i : stream of `result_layout`
    port : the SRAM
    done : pulse, the instruction's last vector is being written
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "walk": In(walk_layout(operand_address_bits(config))),
                "settings": In(settings_layout(config.lanes)),
                "i": In(stream.Signature(result_layout(config.lanes))),
                "port": Out(WritePort(config)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self._config
        m.submodules.walker = walker = Walker(
            operand_address_bits(config), vector_bits(config), repeats=False, enters=False
        )
        address, end = Signal(len(walker.addr)), Signal()
        half, byte = Signal(), Signal()  # of the result's type
        wide_bytes = Mux(half, config.bf16_vector_bytes, config.f32_vector_bytes)
        m.d.comb += [
            half.eq(self.settings.kind == Kind.BF16),
            byte.eq(Cat(self.settings.kind == kind for kind in BYTE_KINDS).any()),
            walker.walk.eq(self.walk),
            walker.start.eq(self.start),
            walker.step.eq(Mux(byte, config.byte_vector_bytes, wide_bytes)),
            walker.next.eq(self.i.valid & self.i.ready),
            self.i.ready.eq(walker.valid & (~self.port.valid | self.port.ready)),
            self.done.eq(self.port.valid & self.port.ready & end),
        ]
        with m.If(walker.next):
            m.d.sync += [self.port.valid.eq(1), address.eq(walker.addr), end.eq(walker.end)]
        with m.Elif(self.port.ready):
            m.d.sync += self.port.valid.eq(0)
        self._drive(m, address, half, byte, self._convert(m, platform, walker.next))
        return m

    def _convert(self, m: Module, platform: object, taken: Signal) -> list[Value]:
        """The lanes' results as they are written, in the lowest bits."""
        settings, lanes = self.settings, self._config.lanes
        keep = Signal(lanes)
        inside = settings.tail | (~self.i.payload.last).replicate(lanes)
        m.d.comb += keep.eq(Mux(settings.reduce, 1, inside))
        results = []
        kind = wire(m, settings.kind, "kind")
        values = split(m, self.i.payload.lanes, lanes, "value")
        for lane in range(lanes):
            inputs = {
                "load": taken,
                "kind": kind,
                "keep": keep[lane],
                "x": values[lane],
            }
            outputs = place(m, platform, f"lane_{lane}", "jx_vector_result", ResultLane, inputs)
            results.append(outputs["y"])
        return results

    def _drive(
        self, m: Module, address: Signal, half: Signal, byte: Signal, results: list[Value]
    ) -> None:
        """The vector, copied to all places it can have in a line, and the mask that picks one."""
        line_bytes, granule_bytes = self._config.line_bytes, self._config.byte_vector_bytes
        granules = line_bytes // granule_bytes
        low, high = (granule_bytes - 1).bit_length(), (line_bytes - 1).bit_length()
        granule = wire(m, address[low:high], "granule")
        copies = {}
        for bits in (8, 16, 32):
            copies[bits] = Signal(8 * line_bytes, name=f"copies_{bits}")
            vector = Signal(bits * len(results), name=f"vector_{bits}")
            m.d.comb += vector.eq(Cat(result[:bits] for result in results))
            m.d.comb += copies[bits].eq(vector.replicate(len(copies[bits]) // len(vector)))
        m.d.comb += [
            self.port.addr.eq(address[high:]),
            self.port.data.eq(Mux(byte, copies[8], Mux(half, copies[16], copies[32]))),
            self.port.mask.eq(
                Cat(_written(granule, index, half, byte) for index in range(granules))
            ),
        ]


def _written(granule: Value, index: int, half: Value, byte: Value) -> Value:
    """Whether the vector at `granule` covers granule `index`: of bytes one, bf16 two, fp32 four."""
    of_half, of_word = (_same(granule[drop:], index >> drop) for drop in (1, 2))
    return Mux(byte, granule == index, Mux(half, of_half, of_word))


def _same(number: Value, wanted: int) -> Value:
    return number == Const(wanted, max(1, len(number)))
