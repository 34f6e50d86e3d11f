"""LineReader: turns a stream of line addresses into a stream of lines."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from rtl.ports import ReadPort, line_address_bits
from rtl.timing import READER_DEPTH


class LineReader(wiring.Component):
    """Reads SRAM lines in order; hides the port's latency behind a small FIFO.

    Latency 2 cycles from an accepted address to its line; throughput one line per cycle;
    back-pressure on both sides (at most ``depth`` lines are requested ahead of the consumer).

    Members
    -------
    i : stream of ``addr`` (line number) and ``tag`` (``tag_bits``, handed through)
    o : stream of ``data`` (the line) and ``tag``
    port : the SRAM port
    idle : nothing requested, nothing waiting
    """

    def __init__(self, config: ChipConfig, tag_bits: int, depth: int = READER_DEPTH):
        self._depth = depth
        self._line_bits = 8 * config.line_bytes
        address = unsigned(line_address_bits(config))
        tag = unsigned(tag_bits)
        self._request = data.StructLayout({"addr": address, "tag": tag})
        self._line = data.StructLayout({"data": unsigned(self._line_bits), "tag": tag})
        super().__init__(
            {
                "i": In(stream.Signature(self._request)),
                "o": Out(stream.Signature(self._line)),
                "port": Out(ReadPort(config)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.lines = lines = fifo.SyncFIFO(width=self._line.size, depth=self._depth)
        taken = Signal(range(self._depth + 1))  # places promised to requests or holding lines
        accepted = Signal()
        arriving = Signal()
        tag = Signal(self._line["tag"].shape)
        free = Signal()
        m.d.comb += [
            free.eq(taken != self._depth),
            self.port.valid.eq(self.i.valid & free),
            self.port.addr.eq(self.i.payload.addr),
            self.i.ready.eq(self.port.ready & free),
            accepted.eq(self.i.valid & self.i.ready),
            lines.w_en.eq(arriving),
            lines.w_data[: self._line_bits].eq(self.port.data),
            lines.w_data[self._line_bits :].eq(tag),
            self.o.valid.eq(lines.r_rdy),
            self.o.payload.eq(lines.r_data),
            lines.r_en.eq(self.o.ready),
            self.idle.eq(taken == 0),
        ]
        m.d.sync += [
            arriving.eq(accepted),
            taken.eq(taken + accepted - (self.o.valid & self.o.ready)),
        ]
        with m.If(accepted):
            m.d.sync += tag.eq(self.i.payload.tag)
        return m
