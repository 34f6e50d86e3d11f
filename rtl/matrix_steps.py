"""The order in which a matmul's weights are read and loaded."""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from isa.config import ChipConfig
from isa.table import MATRIX
from rtl.array import group_rows
from rtl.matrix_formats import block_formats, by_format
from rtl.matrix_place import ADDRESS_BITS, WeightPlace
from rtl.ports import command_layout


def step_layout(config: ChipConfig) -> data.StructLayout:
    """One cycle of a load, on its way to the array together with its line.

    ``valid``: weights, or ``scales``: a row of C scales, never both. ``packed``: q rows at once;
    ``index``: the (first) row, or transposed the column, of scales the block in the tile;
    ``offset``: the byte in the line where it begins; ``k_count``: weights inside K, of the rows
    from ``index`` on or, transposed, of the column; ``n_count``: columns of the panel inside N.
    """
    return data.StructLayout(
        {
            "valid": 1,
            "scales": 1,
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
    It takes R/q steps if its rows are packed (one behind the other in memory, the first aligned to
    a group of q), else R; transposed C. What lies outside K or N is stepped over without being
    read. Of block formats (B weights along K to a scale) the tile's scales are read before, from
    the cycle behind the last tile's end on, whether `go` allows the tile or not: R/B steps, those
    behind K left out; 1 if R < B, and none if they are those of the tile before.

    Members
    -------
    start : pulse; `command` must then stay until the last step
    go : the next tile may begin in this cycle
    begins : its first step is in this cycle
    active : the last step is still to come
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
                "active": Out(1),
                "step": Out(step_layout(config)),
                "read": Out(1),
                "addr": Out(ADDRESS_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, command, step = self._config, self.command, self.step
        m.submodules.place = place = WeightPlace(config)
        more, inside, packed = Signal(), Signal(), Signal()
        index = Signal(step.index.shape())
        rows, last_step = Signal(range(config.rows + 1)), Signal()
        waits = Signal()
        m.d.comb += [
            waits.eq(more & ~inside),
            self.active.eq(more | inside),
            rows.eq(Mux(step.packed, group_rows(config), 1)),
            last_step.eq(index == Mux(command.layout, config.cols - 1, config.rows - rows)),
            step.scales.eq(self._scales(m, waits, place.needs_scales, last_step)),
            self.begins.eq(waits & ~step.scales & self.go),
            step.valid.eq(self.begins | inside),
            step.transposed.eq(command.layout),
            step.packed.eq(Mux(inside, packed, place.dense)),
            step.index.eq(index),
            step.k_count.eq(Mux(place.k_left > config.rows, config.rows, place.k_left)),
            step.n_count.eq(Mux(place.n_left > config.cols, config.cols, place.n_left)),
        ]
        self._connect(m, place, last_step)
        with m.If(step.valid):
            m.d.sync += [
                packed.eq(step.packed),
                inside.eq(~last_step),
                index.eq(Mux(last_step, 0, index + rows)),
                more.eq(~place.finished),
            ]
        with m.Elif(step.scales):
            m.d.sync += index.eq(Mux(self._last_scales(), 0, index + 1))
        with m.If(self.start):
            m.d.sync += more.eq(1)
        return m

    def _connect(self, m: Module, place: WeightPlace, last_step: Signal) -> None:
        command, step = self.command, self.step
        inside_k_n = Mux(command.layout, step.index < step.n_count, step.k_count != 0)
        m.d.comb += [
            place.start.eq(self.start),
            place.command.eq(command),
            place.advance.eq(step.valid),
            place.last_step.eq(last_step),
            place.packed.eq(step.packed),
            place.advance_scales.eq(step.scales),
            self.addr.eq(Mux(step.scales, place.scale_addr, place.addr)),
            self.read.eq(step.scales | (step.valid & inside_k_n)),
            step.offset.eq(self.addr),
        ]

    def _scales(self, m: Module, waits: Signal, needed: Value, last_step: Signal) -> Value:
        """Whether a row of scales is read in this cycle, for the tile that waits."""
        done = Signal(name="scales_done")
        step = self.step
        with m.If(step.valid & last_step):
            m.d.sync += done.eq(0)
        with m.Elif(step.scales & self._last_scales()):
            m.d.sync += done.eq(1)
        return waits & needed & ~done

    def _last_scales(self) -> Value:
        """Whether the tile has no block inside K behind this step's."""
        blocks = block_formats(self._config)
        length = by_format(self.command, blocks, [entry.block for entry in blocks])
        return self.step.k_count <= (self.step.index + 1) * length
