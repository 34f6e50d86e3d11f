"""WeightLoader: brings a matmul's weights, tile by tile, into the array's shadow registers."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from isa.config import ChipConfig
from isa.table import MATRIX
from rtl.array import group_rows, weight_layout
from rtl.float import wire
from rtl.matrix_expand import WeightExpander
from rtl.matrix_steps import TileSteps, step_layout
from rtl.ports import ReadPort, command_layout
from rtl.timing import rows_ahead


class WeightLoader(wiring.Component):
    """Loads each tile as soon as the array's shadow registers are free. The SRAM is asked once for
    a line that several steps in turn need.

    Latency: a group or row is on `weights` 2 cycles after its line was requested. With the load of
    a tile requested from cycle x on, `tile_ready` is high from x + 2 on, until `tile_taken` in some
    cycle y. The next load is then requested from y + 1 on, or from y + R - 2 - `rows_ahead` if that
    is later (packed rows), or from y + R - 2 (transposed); `SystolicArray` says why. Nor is it
    requested before the last load's requests have ended and the tile's scales have been requested,
    which follow those (`TileSteps`).

    Members
    -------
    start : pulse; `command` must then stay until the last tile is taken
    tile_ready, tile_taken : see `RowFeeder`
    loading : something is still to be read. `command` may change in the cycle after its end
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
                "loading": Out(1),
                "port": Out(ReadPort(config)),
                "weights": Out(weight_layout(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.steps = steps = TileSteps(self._config)
        m.submodules.expander = expander = WeightExpander(self._config)
        step = Signal(step_layout(self._config))  # whose line is arriving
        m.d.comb += [
            steps.start.eq(self.start),
            steps.command.eq(self.command),
            steps.go.eq(self._may_begin(m, steps)),
            self.loading.eq(steps.active),
            expander.command.eq(self.command),
            expander.step.eq(step),
            expander.line.eq(self._line(m, steps)),
        ]
        m.d.sync += step.eq(steps.step)
        normal = expander.operands[: group_rows(self._config) * self._config.cols]
        column = expander.operands[: self._config.rows]
        m.d.comb += self.weights.eq(Cat(*self._enables(m, step), *normal, *column))
        return m

    def _line(self, m: Module, steps: TileSteps) -> Value:
        """What was read for the last cycle's step: it has just come, or is kept from before."""
        addr = wire(m, steps.addr[exact_log2(self._config.line_bytes) :], "line_addr")
        known, known_addr = Signal(), Signal.like(addr)
        arriving, kept = Signal(), Signal.like(self.port.data)
        line = wire(m, Mux(arriving, self.port.data, kept), "line")
        m.d.comb += [
            self.port.valid.eq(steps.read & ~(known & (known_addr == addr))),
            self.port.addr.eq(addr),
        ]
        m.d.sync += arriving.eq(self.port.valid)
        with m.If(arriving):
            m.d.sync += kept.eq(self.port.data)
        with m.If(self.start):  # other instructions may have written since
            m.d.sync += known.eq(0)
        with m.Elif(self.port.valid):
            m.d.sync += [known.eq(1), known_addr.eq(addr)]
        return line

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
        ahead = Mux(steps.step.packed, rows_ahead(rows, group), rows)
        return free & (timer <= Mux(steps.step.transposed, 0, ahead))

    def _enables(self, m: Module, step) -> list[Signal]:
        """Registered: the rows and the columns whose shadow registers take the weights, and
        whether those are a group."""
        config, group = self._config, exact_log2(group_rows(self._config))
        rows = Cat(
            Mux(step.packed, step.index[group:] == r >> group, step.index == r)
            for r in range(config.rows)
        )
        cols = Cat(step.index == c for c in range(config.cols))
        row_en, col_en, packed = Signal(config.rows), Signal(config.cols), Signal()
        m.d.sync += [
            packed.eq(step.valid & step.packed),
            row_en.eq(Mux(step.valid & ~step.transposed, rows, 0)),
            col_en.eq(Mux(step.valid & step.transposed, cols, 0)),
        ]
        return [row_en, col_en, packed]
