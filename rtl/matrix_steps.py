"""The order in which a matmul's weights are read and loaded."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from isa.config import ChipConfig
from isa.table import MATRIX
from rtl.array import group_rows
from rtl.ports import command_layout

_ADDRESS_BITS = 24


def step_layout(config: ChipConfig) -> data.StructLayout:
    """One cycle of a load, on its way to the array together with its line.

    ``packed``: q rows at once; ``index``: the (first) row, or transposed the column; ``offset``:
    the byte in the line where it begins; ``k_count``: weights inside K, of the rows from ``index``
    on or, transposed, of the column; ``n_count``: columns of the panel inside N.
    """
    return data.StructLayout(
        {
            "valid": 1,
            "transposed": 1,
            "packed": 1,
            "index": unsigned(exact_log2(max(config.rows, config.cols))),
            "offset": unsigned(exact_log2(config.line_bytes)),
            "k_count": unsigned(config.rows.bit_length()),
            "n_count": unsigned(config.cols.bit_length()),
        }
    )


class TileSteps(wiring.Component):
    """Steps of the loads: for all panels of N, for all tiles of K, a group of rows per cycle.

    A tile begins when `go` allows it, from the cycle after `start` on, and is then not interrupted.
    It takes R/q steps if its rows are packed (at a distance of 2C bytes, the first aligned to a
    group of q), else R; transposed C. What lies outside K or N is stepped over without being read.

    Members
    -------
    start : pulse; `command` must then stay until the last step
    go : the next tile may begin in this cycle
    begins : its first step is in this cycle
    step : `step_layout`; `packed` and `transposed` are also right for the tile that waits for `go`
    read, addr : the byte address whose line is to be read in this cycle
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "command": In(command_layout(MATRIX)),
                "go": In(1),
                "begins": Out(1),
                "step": Out(step_layout(config)),
                "read": Out(1),
                "addr": Out(_ADDRESS_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, command, step = self._config, self.command, self.step
        m.submodules.place = place = _Place(config)
        more, inside, packed = Signal(), Signal(), Signal()
        index = Signal(step.index.shape())
        rows, last_step = Signal(range(config.rows + 1)), Signal()
        # A line holds a group only if its rows lie one behind the other, from the group's start.
        dense = (command.wstride == config.array_col_bytes) & place.aligned & ~command.layout
        m.d.comb += [
            place.start.eq(self.start),
            place.command.eq(command),
            place.advance.eq(step.valid),
            place.last_step.eq(last_step),
            place.packed.eq(step.packed),
            rows.eq(Mux(step.packed, group_rows(config), 1)),
            last_step.eq(index == Mux(command.layout, config.cols - 1, config.rows - rows)),
            self.begins.eq(more & ~inside & self.go),
            self.addr.eq(place.addr),
            self.read.eq(step.valid & Mux(command.layout, index < step.n_count, step.k_count != 0)),
            step.valid.eq(self.begins | inside),
            step.transposed.eq(command.layout),
            step.packed.eq(Mux(inside, packed, dense)),
            step.index.eq(index),
            step.offset.eq(place.addr),
            step.k_count.eq(Mux(place.k_left > config.rows, config.rows, place.k_left)),
            step.n_count.eq(Mux(place.n_left > config.cols, config.cols, place.n_left)),
        ]
        with m.If(step.valid):
            m.d.sync += [
                packed.eq(step.packed),
                inside.eq(~last_step),
                index.eq(Mux(last_step, 0, index + rows)),
                more.eq(~place.finished),
            ]
        with m.If(self.start):
            m.d.sync += more.eq(1)
        return m


class _Place(wiring.Component):
    """Where in the matrix of weights a matmul's loads have arrived.

    Members
    -------
    start, command : as in `TileSteps`
    advance : a step is done in this cycle, `packed` (q rows) or not, the last of its tile or not
    finished : and it is the last step of all
    addr : byte address of the step's row or group; `aligned` to a group
    k_left : rows of K from the step's on (transposed: from the tile's first on), 0 behind the last
    n_left : columns of N from the panel's first on
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "command": In(command_layout(MATRIX)),
                "advance": In(1),
                "packed": In(1),
                "last_step": In(1),
                "finished": Out(1),
                "addr": Out(_ADDRESS_BITS),
                "aligned": Out(1),
                "k_left": Out(16),
                "n_left": Out(16),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, command = self._config, self.command
        group = group_rows(config)
        group_bytes = group * config.array_col_bytes
        panel, base, along_k = (Signal(_ADDRESS_BITS) for _ in range(3))
        next_base, next_panel = Signal(_ADDRESS_BITS), Signal(_ADDRESS_BITS)
        used, k_next = Signal(range(config.rows + 1)), Signal(16)
        last_tile = Signal()
        m.d.comb += [
            self.addr.eq(base + along_k),
            self.aligned.eq(base[: exact_log2(group_bytes)] == 0),
            next_base.eq(base + Mux(self.packed, group_bytes, command.wstride)),
            next_panel.eq(Mux(command.layout, next_base, panel + command.wpanel)),
            used.eq(Mux(self.packed, group, 1)),
            k_next.eq(Mux(self.k_left > used, self.k_left - used, 0)),
            last_tile.eq(k_next == 0),
            self.finished.eq(self.last_step & last_tile & (self.n_left <= config.cols)),
        ]
        with m.If(command.layout):
            m.d.comb += used.eq(Mux(self.last_step, config.rows, 0))
        with m.If(self.advance):
            m.d.sync += [base.eq(next_base), self.k_left.eq(k_next)]
            with m.If(self.last_step & last_tile):
                m.d.sync += [
                    base.eq(next_panel),
                    panel.eq(next_panel),
                    along_k.eq(0),
                    self.k_left.eq(command.k),
                    self.n_left.eq(self.n_left - config.cols),
                ]
            with m.Elif(self.last_step & command.layout):
                m.d.sync += [base.eq(panel), along_k.eq(along_k + config.array_row_bytes)]
        with m.If(self.start):
            m.d.sync += [
                panel.eq(command.w),
                base.eq(command.w),
                along_k.eq(0),
                self.k_left.eq(command.k),
                self.n_left.eq(command.n),
            ]
        return m
