"""Accumulators: one memory per column of the array, written in the order in which the sums come."""

from functools import partial

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from isa.config import ChipConfig
from rtl.float import fp_add
from rtl.memory import Sram1R1W
from rtl.platform import place
from rtl.timing import ACC_BANKS


def acc_address_bits(config: ChipConfig) -> int:
    """Bits of an accumulator row's number."""
    return (config.acc_rows - 1).bit_length()


def acc_bank(config: ChipConfig, row: Value) -> Value:
    """The bank of an accumulator row: the highest bits of its number."""
    return row[exact_log2(config.acc_rows // ACC_BANKS) :]


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
    """One column: row addr becomes sum, or row addr + sum. Its `ACC_BANKS` banks are read apart.

    Latency: `control` comes one cycle before its `sum`, in whose cycle the row is written; it can
    be read from the second cycle after `control` on. Throughput: one sum per cycle, but not to the
    same row in successive cycles: tiles of one row are at least 3 cycles apart. No back-pressure.

    Members
    -------
    control : `control_layout`
    sum : fp32; of an int8 array int32, added modulo 2^32
    reading : the banks whose read port `control` needs in this cycle: one or none
    read, read_addr : request of another reader; only in a bank that no column is `reading`
    read_data : the row, in the cycle after
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        address = acc_address_bits(config)
        super().__init__(
            {
                "control": In(control_layout(config)),
                "sum": In(32),
                "reading": Out(ACC_BANKS),
                "read": In(1),
                "read_addr": In(address),
                "read_data": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, adds = self._config, Signal()
        write, replace, row = Signal(), Signal(), Signal(acc_address_bits(config))
        old, new, source = Signal(32), Signal(32), Signal(range(ACC_BANKS))
        m.d.comb += adds.eq(self.control.valid & ~self.control.overwrite)
        m.d.sync += [
            write.eq(self.control.valid),
            replace.eq(self.control.overwrite),
            row.eq(self.control.addr),
            source.eq(acc_bank(config, self.read_addr)),
        ]
        lines = []
        for index in range(ACC_BANKS):
            memory = Sram1R1W(32, config.acc_rows // ACC_BANKS)
            m.submodules[f"memory_{index}"] = memory
            reading = self.reading[index]
            m.d.comb += [
                reading.eq(adds & (acc_bank(config, self.control.addr) == index)),
                memory.ren.eq(reading | self.read & (acc_bank(config, self.read_addr) == index)),
                memory.raddr.eq(Mux(reading, self.control.addr, self.read_addr)),
                memory.wen.eq(write & (acc_bank(config, row) == index)),
                memory.waddr.eq(row),
                memory.wdata.eq(new),
            ]
            lines.append(memory.rdata)
        m.d.comb += [
            old.eq(Array(lines)[acc_bank(config, row)]),
            new.eq(self._new(m, old, replace)),
        ]
        m.d.comb += self.read_data.eq(Array(lines)[source])
        return m

    def _new(self, m: Module, old: Signal, replace: Signal) -> Value:
        if self._config.element == "int8":
            total = old + self.sum
        else:
            total = fp_add(m, old, self.sum, "add")
        return Mux(replace, self.sum, total)


class Accumulators(wiring.Component):
    """All columns; column c's control is delayed by c cycles, as its sums are.

    The vector unit reads whole rows in cycles in which no column adds to their bank.

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
        in_use = [
            Cat(column["reading"][bank] for column in columns).any() for bank in range(ACC_BANKS)
        ]
        m.d.comb += [
            self.acc_read.ready.eq(~Array(in_use)[acc_bank(self._config, self.acc_read.addr)]),
            self.acc_read.data.eq(Cat(column["read_data"] for column in columns)),
        ]
        return m
