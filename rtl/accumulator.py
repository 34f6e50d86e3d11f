"""Accumulators: one memory per column of the array, written in the order in which the sums come."""

from functools import partial

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from rtl.float import fp_add
from rtl.memory import Sram1R1W
from rtl.platform import place


def acc_address_bits(config: ChipConfig) -> int:
    """Bits of an accumulator row's number."""
    return (config.acc_rows - 1).bit_length()


def control_layout(config: ChipConfig) -> data.StructLayout:
    """What becomes of a sum: its accumulator row, whether it replaces it; `last` of its matmul."""
    return data.StructLayout(
        {
            "valid": 1,
            "overwrite": 1,
            "last": 1,
            "addr": unsigned(acc_address_bits(config)),
        }
    )


class AccumulatorPort(wiring.Signature):
    """The vector unit's read access to the accumulators (the vector unit's point of view).

    Members
    -------
    valid, addr : request of accumulator row ``addr``; must stay until accepted
    ready : the request is accepted in this cycle
    data : C sums as they are (fp32, or an int8 array's int32), in the cycle after acceptance only
    """

    def __init__(self, config: ChipConfig):
        super().__init__(
            {
                "valid": Out(1),
                "ready": In(1),
                "addr": Out(acc_address_bits(config)),
                "data": In(32 * config.cols),
            }
        )


class Accumulator(wiring.Component):
    """One column: row addr becomes sum, or row addr + sum.

    Latency: `control` comes one cycle before its `sum`, in whose cycle the row is written; it can
    be read from the second cycle after `control` on. Throughput: one sum per cycle, but not to the
    same row in successive cycles: tiles of one row are at least 3 cycles apart. No back-pressure.

    Members
    -------
    control : `control_layout`
    sum : fp32; of an int8 array int32, added modulo 2^32
    reading : `control` needs the memory's read port in this cycle
    read, read_addr : request of another reader; only where no column is `reading`
    read_data : the row, in the cycle after
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        address = acc_address_bits(config)
        super().__init__(
            {
                "control": In(control_layout(config)),
                "sum": In(32),
                "reading": Out(1),
                "read": In(1),
                "read_addr": In(address),
                "read_data": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = memory = Sram1R1W(32, self._config.acc_rows)
        write, replace, row = Signal(), Signal(), Signal(acc_address_bits(self._config))
        if self._config.element == "int8":
            total = memory.rdata + self.sum
        else:
            total = fp_add(m, memory.rdata, self.sum, "add")
        m.d.comb += [
            self.reading.eq(self.control.valid & ~self.control.overwrite),
            memory.ren.eq(self.reading | self.read),
            memory.raddr.eq(Mux(self.reading, self.control.addr, self.read_addr)),
            self.read_data.eq(memory.rdata),
            memory.wen.eq(write),
            memory.waddr.eq(row),
            memory.wdata.eq(Mux(replace, self.sum, total)),
        ]
        m.d.sync += [
            write.eq(self.control.valid),
            replace.eq(self.control.overwrite),
            row.eq(self.control.addr),
        ]
        return m


class Accumulators(wiring.Component):
    """All columns; column c's control is delayed by c cycles, as its sums are.

    The vector unit reads whole rows in cycles in which no column adds to its memory.

    Members
    -------
    control : `control_layout`, one cycle before `sums[0]`
    sums : C sums, column c's one c cycles after column 0's
    acc_read : the vector unit's port
    done : pulse, the row whose control had `last` is in the memories
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        super().__init__(
            {
                "control": In(control_layout(config)),
                "sums": In(32).array(config.cols),
                "acc_read": In(AccumulatorPort(config)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        control, columns = self.control, []
        for c in range(self._config.cols):
            if c:
                previous, control = control, Signal(control.shape(), name=f"control{c}")
                m.d.sync += control.eq(previous)
            inputs = {
                "control": control,
                "sum": self.sums[c],
                "read": self.acc_read.valid & self.acc_read.ready,
                "read_addr": self.acc_read.addr,
            }
            make = partial(Accumulator, self._config)
            columns.append(place(m, platform, f"column{c}", "jx_accumulator", make, inputs))
        ended = Signal()  # the last column's sum is being written, and is the matmul's last
        m.d.sync += [ended.eq(control.valid & control.last), self.done.eq(ended)]
        m.d.comb += [
            self.acc_read.ready.eq(~Cat(column["reading"] for column in columns).any()),
            self.acc_read.data.eq(Cat(column["read_data"] for column in columns)),
        ]
        return m
