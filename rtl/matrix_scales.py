"""TileScales: the scales of the tile that is being loaded."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import exact_log2

from isa.config import ChipConfig
from isa.table import MATRIX
from rtl.array import group_rows
from rtl.expand import operand_bits
from rtl.float import wire
from rtl.matrix_formats import block_formats, by_format, scale_rows
from rtl.matrix_steps import step_layout
from rtl.ports import command_layout


class TileScales(wiring.Component):
    """Keeps rows of C scales, one for each block of the tile, and finds each weight's.

    Latency: scales that come with a step are used from the next step on, one step a cycle.

    Members
    -------
    command : a `matmul`, from its first step to its last
    step : `step_layout`
    arriving : C scales as the expanders' operands, where the step is one of scales
    scales : for each weight of the step, in the order of `WeightExpander.operands`, its scale
    """

    def __init__(self, config: ChipConfig, count: int):
        self._config, self._count, self._bits = config, count, operand_bits(config.element)
        super().__init__(
            {
                "command": In(command_layout(MATRIX)),
                "step": In(step_layout(config)),
                "arriving": In(self._bits * config.cols),
                "scales": Out(self._bits * count),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        stored, lengths = self._store(m), self._block_lengths(m)
        of_slot = self._of_slots(m, stored, lengths)
        of_row = self._of_rows(m, stored, lengths)
        fewest = min(lengths)  # rows between two multiples of it have the same scales
        scales: list[Value] = []
        for i in range(self._count):
            slot, col = divmod(i, config.cols)
            transposed = of_row[i // fewest] if i < config.rows else Const(0, self._bits)
            if slot < group_rows(config):
                normal = of_slot[slot // fewest].word_select(col, self._bits)
                scales.append(Mux(self.step.transposed, transposed, normal))
            else:
                scales.append(transposed)
        m.d.comb += self.scales.eq(Cat(scales))
        return m

    def _store(self, m: Module) -> list[Signal]:
        stored = [
            Signal(len(self.arriving), name=f"scales_{row}", reset_less=True)
            for row in range(scale_rows(self._config))
        ]
        for row, scales in enumerate(stored):
            with m.If(self.step.scales & (self.step.index == row)):
                m.d.sync += scales.eq(self.arriving)
        return stored

    def _block_lengths(self, m: Module) -> dict[int, Signal]:
        """Rows that share a scale, and whether it is the command's format where they do."""
        blocks, chosen = block_formats(self._config), {}
        for length in sorted({entry.block for entry in blocks}):
            is_length = by_format(self.command, blocks, [e.block == length for e in blocks])
            chosen[length] = wire(m, is_length, f"blocks_of_{length}")
        return chosen

    def _of_slots(
        self, m: Module, stored: list[Signal], lengths: dict[int, Signal]
    ) -> list[Signal]:
        """Normal layout: C scales, for every so many rows of a group."""
        step, found = self.step, []
        for slot in range(0, group_rows(self._config), min(lengths)):
            row = wire(m, Mux(step.packed, step.index | slot, step.index), f"row_of_{slot}")
            scales: Value = Const(0)
            for length, chosen in lengths.items():
                scales = Mux(chosen, _pick(stored, row[exact_log2(length) :]), scales)
            found.append(wire(m, scales, f"scales_of_{slot}"))
        return found

    def _of_rows(self, m: Module, stored: list[Signal], lengths: dict[int, Signal]) -> list[Signal]:
        """Transposed layout: the column's scale, for every so many rows."""
        found = []
        for row in range(0, self._config.rows, min(lengths)):
            scale: Value = Const(0)
            for length, chosen in lengths.items():
                of_block = stored[row // length].word_select(self.step.index, self._bits)
                scale = Mux(chosen, of_block, scale)
            found.append(wire(m, scale, f"scale_of_{row}"))
        return found


def _pick(items: list[Signal], index: Value) -> Value:
    """The item of that number, as a tree of multiplexers; their count is a power of two.

    An index of fewer bits than the count has says that there are no further items.
    """
    values: list[Value] = list(items)
    for bit in index[: exact_log2(len(items))]:
        values = [Mux(bit, odd, even) for even, odd in zip(*[iter(values)] * 2, strict=True)]
    return values[0]
