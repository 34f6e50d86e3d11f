"""WriteBack: results of the vector unit into the SRAM."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from rtl.float import to_bf16, wire
from rtl.ports import WritePort
from rtl.vector_decode import settings_layout
from rtl.vector_lanes import result_layout
from rtl.vector_operand import operand_address_bits
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
        config, bf16 = self._config, self.settings.bf16
        m.submodules.walker = walker = Walker(operand_address_bits(config))
        place, end = Signal(len(walker.addr)), Signal()
        m.d.comb += [
            walker.walk.eq(self.walk),
            walker.start.eq(self.start),
            walker.step.eq(Mux(bf16, config.bf16_vector_bytes, config.f32_vector_bytes)),
            walker.next.eq(self.i.valid & self.i.ready),
            self.i.ready.eq(walker.valid & (~self.port.valid | self.port.ready)),
            self.done.eq(self.port.valid & self.port.ready & end),
        ]
        with m.If(walker.next):
            m.d.sync += [self.port.valid.eq(1), place.eq(walker.addr), end.eq(walker.end)]
        with m.Elif(self.port.ready):
            m.d.sync += self.port.valid.eq(0)
        self._drive(m, place, self._convert(m, walker.next))
        return m

    def _convert(self, m: Module, taken: Signal) -> list[Signal]:
        """The lanes' results as they are written; bf16 in the lower half."""
        settings, results = self.settings, []
        for lane in range(self._config.lanes):
            x = wire(m, self.i.payload.lanes.word_select(lane, 32), f"x_{lane}")
            inside = settings.tail[lane] | ~self.i.payload.last
            keep = Mux(settings.reduce, lane == 0, inside)
            narrow = to_bf16(m, x, f"narrow_{lane}")
            result = Signal(32, name=f"result_{lane}")
            with m.If(taken):
                m.d.sync += result.eq(Mux(keep, Mux(settings.bf16, narrow, x), 0))
            results.append(result)
        return results

    def _drive(self, m: Module, place: Signal, results: list[Signal]) -> None:
        """The vector, copied to all places it can have in a line, and the mask that picks one."""
        config, bf16 = self._config, self.settings.bf16
        granules = config.line_bytes // config.bf16_vector_bytes
        low = (config.bf16_vector_bytes - 1).bit_length()
        high = (config.line_bytes - 1).bit_length()
        wide = Cat(*results).replicate(granules // 2)
        narrow = Cat(result[:16] for result in results).replicate(granules)
        granule = place[low:high]
        m.d.comb += [
            self.port.addr.eq(place[high:]),
            self.port.data.eq(Mux(bf16, narrow, wide)),
            self.port.mask.eq(Cat(_written(granule, index, bf16) for index in range(granules))),
        ]


def _written(granule: Value, index: int, bf16: Value) -> Value:
    """Whether the vector at `granule` covers granule `index`: bf16 has one, fp32 an even two."""
    return Mux(bf16, granule == index, granule[1:] == Const(index >> 1, max(1, len(granule) - 1)))
