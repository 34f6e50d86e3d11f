"""WeightLoader: brings a matmul's weights, tile by tile, into the array's shadow registers."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from isa.config import ChipConfig
from isa.table import MATRIX
from rtl.array import group_rows, weight_layout
from rtl.matrix_steps import TileSteps, step_layout
from rtl.ports import ReadPort, command_layout


class WeightLoader(wiring.Component):
    """Loads each tile as soon as the array's shadow registers are free.

    Latency: a group or row is on `weights` 2 cycles after its line was requested. With the load of
    a tile requested from cycle x on, `tile_ready` is high from x + 2 on, until `tile_taken` in some
    cycle y. The next load is then requested from y + 1 on, or from y + R - 2 - floor((R-1)/q) if
    that is later (packed rows), or from y + R - 2 (transposed); `SystolicArray` says why.

    Members
    -------
    start : pulse; `command` must then stay until the last tile is taken
    tile_ready, tile_taken : see `RowFeeder`
    port : SRAM port, which must accept every request at once
    weights : to the array (`weight_layout`)
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        super().__init__(
            {
                "start": In(1),
                "command": In(command_layout(MATRIX)),
                "tile_ready": Out(1),
                "tile_taken": In(1),
                "port": Out(ReadPort(config)),
                "weights": Out(weight_layout(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.steps = steps = TileSteps(self._config)
        arriving = Signal(step_layout(self._config))
        m.d.comb += [
            steps.start.eq(self.start),
            steps.command.eq(self.command),
            steps.go.eq(self._may_begin(m, steps)),
            self.port.valid.eq(steps.read),
            self.port.addr.eq(steps.addr[exact_log2(self._config.line_bytes) :]),
        ]
        m.d.sync += arriving.eq(steps.step)
        self._enable(m, arriving)
        self._place_normal(m, arriving)
        self._place_transposed(m, arriving)
        return m

    def _may_begin(self, m: Module, steps: TileSteps) -> Value:
        rows, group = self._config.rows, group_rows(self._config)
        begun, free = Signal(), Signal(init=1)
        timer = Signal(range(rows))  # counts down from R - 3
        m.d.sync += begun.eq(steps.begins)
        with m.If(begun):
            m.d.sync += self.tile_ready.eq(1)
        with m.If(steps.begins):
            m.d.sync += free.eq(0)
        with m.If(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.If(self.tile_taken):
            m.d.sync += [self.tile_ready.eq(0), free.eq(1), timer.eq(rows - 3)]
        ahead = Mux(steps.step.packed, (rows - 1) // group, rows)
        return free & (timer <= Mux(steps.step.transposed, 0, ahead))

    def _enable(self, m: Module, step) -> None:
        config, group = self._config, exact_log2(group_rows(self._config))
        rows = Cat(
            Mux(step.packed, step.index[group:] == r >> group, step.index == r)
            for r in range(config.rows)
        )
        cols = Cat(step.index == c for c in range(config.cols))
        m.d.sync += [
            self.weights.row_en.eq(Mux(step.valid & ~step.transposed, rows, 0)),
            self.weights.col_en.eq(Mux(step.valid & step.transposed, cols, 0)),
        ]

    def _place_normal(self, m: Module, step) -> None:
        """A group of rows from the line, or one row in all places of the group; 0 outside K, N."""
        config, group = self._config, group_rows(self._config)
        row, lines = 16 * config.cols, Signal(16 * config.cols * group)
        packed = _part(self.port.data, step.offset, row * group)
        single = _part(self.port.data, step.offset, row)
        m.d.comb += lines.eq(Mux(step.packed, packed, single.replicate(group)))
        for slot in range(group):
            in_k = Signal(name=f"slot{slot}_in_k")
            m.d.comb += in_k.eq(step.k_count > Mux(step.packed, slot, 0))
            for c in range(config.cols):
                element = lines.word_select(slot * config.cols + c, 16)
                inside = in_k & (step.n_count > c)
                m.d.sync += self.weights.normal[slot][c].eq(Mux(inside, element, 0))

    def _place_transposed(self, m: Module, step) -> None:
        """R elements of the line for one column; 0 outside K, N."""
        rows = self._config.rows
        elements, count = Signal(16 * rows), Signal(step.k_count.shape())
        m.d.comb += [
            elements.eq(_part(self.port.data, step.offset, len(elements))),
            count.eq(Mux(step.index < step.n_count, step.k_count, 0)),
        ]
        for r in range(rows):
            element = elements.word_select(r, 16)
            m.d.sync += self.weights.transposed[r].eq(Mux(count > r, element, 0))


def _part(line: Value, offset: Value, bits: int) -> Value:
    """The aligned part of `bits` bits of a line that begins at byte `offset`."""
    return line.word_select(offset[exact_log2(bits // 8) :], bits)
