"""Where in the matrix of weights a matmul's loads have arrived."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from isa.config import ChipConfig
from isa.table import MATRIX
from rtl.array import group_rows
from rtl.float import wire
from rtl.matrix_formats import block_formats, by_format, is_scaled, scale_header, stored_bytes
from rtl.ports import command_layout

ADDRESS_BITS = 24


class WeightPlace(wiring.Component):
    """Addresses of a matmul's weights and scales, panel by panel, tile by tile of K.

    Members
    -------
    start, command : as in `TileSteps`
    advance : a step is done in this cycle, `packed` (q rows) or not, the last of its tile or not
    finished : and it is the last step of all
    addr : byte address of the step's row or group
    dense : the rows from `addr` on lie one behind the other, and the first begins a group of q
    k_left : rows of K from the step's on (transposed: from the tile's first on), 0 behind the last
    n_left : columns of N from the panel's first on
    needs_scales : the tile's first row begins a block, or blocks are no longer than the tile
    advance_scales : a row of scales is read in this cycle
    scale_addr : its byte address
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
                "addr": Out(ADDRESS_BITS),
                "dense": Out(1),
                "k_left": Out(16),
                "n_left": Out(16),
                "needs_scales": Out(1),
                "advance_scales": In(1),
                "scale_addr": Out(ADDRESS_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, command = self._config, self.command
        group = group_rows(config)
        unit = wire(m, stored_bytes(config, command), "unit")  # of C weights, transposed of R
        base, along_k = Signal(ADDRESS_BITS), Signal(ADDRESS_BITS)
        used, k_next = Signal(range(config.rows + 1)), Signal(16)
        last_tile = Signal()
        transposed_used = Mux(self.last_step, config.rows, 0)
        m.d.comb += [
            self.addr.eq(base + along_k),
            self.dense.eq(self._dense(base, unit)),
            used.eq(Mux(command.layout, transposed_used, Mux(self.packed, group, 1))),
            k_next.eq(Mux(self.k_left > used, self.k_left - used, 0)),
            last_tile.eq(k_next == 0),
            self.finished.eq(self.last_step & last_tile & (self.n_left <= config.cols)),
        ]
        elements = self._panels(m, base, along_k, self.advance & self.last_step & last_tile)
        with m.If(self.advance & ~(self.last_step & last_tile)):
            m.d.sync += [
                base.eq(base + Mux(self.packed, unit << exact_log2(group), command.wstride)),
                self.k_left.eq(k_next),
            ]
            with m.If(self.last_step & command.layout):
                m.d.sync += [base.eq(elements), along_k.eq(along_k + unit)]
        return m

    def _dense(self, base, unit):
        config = self._config
        in_line = exact_log2(config.line_bytes)
        group_mask = (unit << exact_log2(group_rows(config))) - 1
        aligned = (base & group_mask)[:in_line] == 0
        return (self.command.wstride == unit) & aligned & ~self.command.layout

    def _panels(self, m: Module, base: Signal, along_k: Signal, leave) -> Signal:
        """Enter panels, the first at `start`, others on `leave`; returns where elements begin."""
        config, command = self._config, self.command
        panel = Signal(ADDRESS_BITS)
        header = wire(m, scale_header(config, command), "header")
        elements = wire(m, (panel + header)[:ADDRESS_BITS], "elements")
        entered = Mux(self.start, command.w, panel + command.wpanel)
        entered = wire(m, entered[:ADDRESS_BITS], "entered")
        self._scales(m, entered, leave)
        with m.If(self.start | leave):
            m.d.sync += [
                panel.eq(entered),
                base.eq(entered + header),
                along_k.eq(0),
                self.k_left.eq(command.k),
                self.n_left.eq(Mux(self.start, command.n, self.n_left - config.cols)),
            ]
        return elements

    def _scales(self, m: Module, entered: Signal, leave) -> None:
        """Rows of scales are read one after the other, each once for all tiles of its block."""
        config, command, blocks = self._config, self.command, block_formats(self._config)
        if not blocks:
            return
        row_bytes = by_format(command, blocks, [b.scale_bytes * config.cols for b in blocks])
        first_row = Signal(exact_log2(max(b.block for b in blocks)))  # of the tile, in its block
        mask = by_format(command, blocks, [b.block - 1 for b in blocks])
        m.d.comb += self.needs_scales.eq(is_scaled(config, command) & ((first_row & mask) == 0))
        with m.If(self.advance_scales):
            m.d.sync += self.scale_addr.eq(self.scale_addr + row_bytes)
        with m.If(self.advance & self.last_step):
            m.d.sync += first_row.eq(first_row + config.rows)
        with m.If(self.start | leave):
            m.d.sync += [self.scale_addr.eq(entered), first_row.eq(0)]
