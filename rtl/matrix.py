"""The matrix unit: weights, activations, systolic array and accumulators under one command."""

from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from isa.table import MATRIX
from rtl.accumulator import AccumulatorPort, Accumulators, control_layout
from rtl.array import SystolicArray
from rtl.matrix_rows import RowFeeder
from rtl.matrix_weights import WeightLoader
from rtl.ports import ReadPort, command_layout


class MatrixUnit(wiring.Component):
    """Executes `matmul`, one behind the other; every result bit is that of `numbers.matmul_bf16` of
    the expanded operands (`isa.formats.expand`), or of `numbers.matmul_int8`.

    Throughput: a row per cycle while M is at least the time to load a tile, else a tile every
    max(3, R/q + s, R - `rows_ahead`) cycles (packed weights: with q = 2 rows a line, R/2 + s),
    R + s (strided), or max(R, C + s) (transposed), if no activation read is refused. s is 0, and of
    block formats the rows of scales that are read for the tile: R/B, less at the end of K, or 1 for
    every B/R tiles if R < B.
    Latency from command to `done`: R + C + 6 + s cycles for M = K = N = 1. The next command is
    taken the cycle after the last row was, and the last weights were read: its first row can enter
    7 cycles behind that one.

    Members
    -------
    command : stream of `matmul`, ready while rows need not enter the array
    done : pulse; all accumulators of the oldest command are written
    weights : SRAM port, which must accept every request at once
    activations : SRAM port
    acc_read : the vector unit's access to the accumulators, refused while a matmul adds to rows of
        the same bank
    rows : an activation row enters the array in this cycle
    waiting_operand : none does, as its tile's weights are not there yet
    waiting_bank : none does, as an activation read was refused (never with `waiting_operand`)
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        super().__init__(
            {
                "command": In(stream.Signature(command_layout(MATRIX))),
                "done": Out(1),
                "weights": Out(ReadPort(config)),
                "activations": Out(ReadPort(config)),
                "acc_read": In(AccumulatorPort(config)),
                "rows": Out(1),
                "waiting_operand": Out(1),
                "waiting_bank": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.loader = loader = WeightLoader(self._config)
        m.submodules.feeder = feeder = RowFeeder(self._config)
        m.submodules.array = array = SystolicArray(self._config)
        m.submodules.accumulators = accumulators = Accumulators(self._config)
        wiring.connect(m, loader.port, wiring.flipped(self.weights))
        wiring.connect(m, feeder.activations, wiring.flipped(self.activations))
        wiring.connect(m, wiring.flipped(self.acc_read), accumulators.acc_read)
        start = self._run(m, feeder.last, loader.loading)
        command = Signal(command_layout(MATRIX))
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += command.eq(self.command.payload)
        m.d.comb += [
            loader.start.eq(start),
            loader.command.eq(command),
            feeder.start.eq(start),
            feeder.command.eq(command),
            feeder.tile_ready.eq(loader.tile_ready),
            loader.tile_taken.eq(feeder.tile_taken),
            array.weights.eq(loader.weights),
            array.row.eq(feeder.row),
            accumulators.control.eq(_later(m, feeder.control, self._config)),
            self.rows.eq(feeder.control.valid),
            self.waiting_operand.eq(feeder.waiting_operand),
            self.waiting_bank.eq(feeder.waiting_bank),
            self.done.eq(accumulators.done),
        ]
        m.d.comb += [accumulators.sums[c].eq(array.sums[c]) for c in range(self._config.cols)]
        return m

    def _run(self, m: Module, last: Signal, loading: Signal) -> Signal:
        """Accept a command when of the one before neither rows nor weights are to be read; returns
        the pulse that starts it, a cycle after its acceptance."""
        busy, fed, start = Signal(), Signal(), Signal()
        accepted = self.command.valid & ~busy
        m.d.comb += self.command.ready.eq(~busy)
        m.d.sync += [start.eq(accepted), fed.eq((last | fed) & loading)]
        with m.If(accepted):
            m.d.sync += busy.eq(1)
        with m.Elif((last | fed) & ~loading):
            m.d.sync += busy.eq(0)
        return start


def _later(m: Module, control, config: ChipConfig):
    """A row's control R cycles later: one cycle before its sum in column 0."""
    for step in range(config.rows):
        stage = Signal(control_layout(config), name=f"control_{step}")
        m.d.sync += stage.eq(control)
        control = stage
    return control
