"""WeightExpander: from a line of the SRAM to the operands that the array takes in a cycle."""

from functools import partial

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from isa.table import MATRIX
from rtl.array import group_rows
from rtl.expand import Expander, operand_bits
from rtl.float import wire
from rtl.matrix_formats import (
    block_formats,
    by_format,
    weight_bits,
    weight_formats,
    weight_kind,
)
from rtl.matrix_scales import TileScales
from rtl.matrix_steps import step_layout
from rtl.platform import place
from rtl.ports import command_layout


def expander_count(config: ChipConfig) -> int:
    """As many as a step has weights: a group of rows, or transposed a column."""
    return max(group_rows(config) * config.cols, config.rows)


class WeightExpander(wiring.Component):
    """Expands a step's part of a line.

    Latency 1; throughput one step a cycle. The same expanders serve both layouts, for a step has
    one or the other, and decode the scales (`TileScales` keeps them).

    Members
    -------
    command : a `matmul`, from its first step to its last
    step, line : `step_layout`, and what was read for it
    operands : `expander_count` of them: row major those of a group, or of a single row as many
        times as a group has rows; transposed, those of a column. 0 outside K and N; undefined for
        steps of scales
    """

    def __init__(self, config: ChipConfig):
        self._config, self._bits = config, operand_bits(config.element)
        super().__init__(
            {
                "command": In(command_layout(MATRIX)),
                "step": In(step_layout(config)),
                "line": In(8 * config.line_bytes),
                "operands": Out(self._bits).array(expander_count(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        codes = self._codes(m, self._shifted(m))
        inside = self._inside(m)
        if self._config.element == "int8":
            for operand, code, kept in zip(self.operands, codes, inside, strict=True):
                m.d.sync += operand.eq(Mux(kept, code, 0))
            return m
        m.submodules.scales = scales = TileScales(self._config, len(codes))
        kind = weight_kind(m, self._config, self.command, self.step.scales)
        make, expanded = partial(Expander, self._config.element), []
        for i, code in enumerate(codes):
            scale = scales.scales.word_select(i, self._bits)
            inputs = {"kind": kind, "code": code, "scale": scale, "inside": inside[i]}
            outputs = place(m, platform, f"expander_{i}", "jx_expand", make, inputs)
            expanded.append(outputs["expanded"])
            m.d.comb += self.operands[i].eq(outputs["operand"])
        m.d.comb += [
            scales.command.eq(self.command),
            scales.step.eq(self.step),
            scales.arriving.eq(Cat(expanded[: self._config.cols])),
        ]
        return m

    def _inside(self, m: Module) -> list[Value]:
        """Whether each expander's element lies inside K and N."""
        step, cols = self.step, self._config.cols
        column = wire(m, Mux(step.index < step.n_count, step.k_count, 0), "column_count")
        inside: list[Value] = []
        for i in range(expander_count(self._config)):
            if i < group_rows(self._config) * cols:
                in_k = step.k_count > Mux(step.packed, i // cols, 0)
                normal = in_k & (step.n_count > i % cols)
                inside.append(Mux(step.transposed, column > i, normal))
            else:
                inside.append(column > i)
        return inside

    def _shifted(self, m: Module) -> Signal:
        """The line from the step's offset on, as much as the widest step needs."""
        config, line = self._config, self.line
        sizes = weight_bits(config)
        unit = min(config.rows, config.cols) * sizes[0] // 8  # offsets are multiples of it
        used = expander_count(config) * sizes[-1] // 8
        step = config.line_bytes // 2
        while step >= unit:
            bit = self.step.offset[step.bit_length() - 1]
            kept = 8 * (used + step - unit)
            line = wire(m, Mux(bit, line[8 * step :], line)[:kept], f"line_by_{step}")
            step //= 2
        return line

    def _codes(self, m: Module, line: Value) -> list[Value]:
        """Each expander's code: those of a single row are repeated."""
        config, sizes = self._config, weight_bits(self._config)
        single = ~self.step.packed & ~self.step.transposed & ~self.step.scales
        entries = weight_formats(config)
        size = by_format(self.command, entries, [entry.bits for entry in entries])
        size = wire(m, Mux(self.step.scales, self._scale_bits(), size), "code_bits")
        one_size = {bits: wire(m, size == bits, f"codes_of_{bits}") for bits in sizes}
        codes: list[Value] = []
        for i in range(expander_count(config)):
            code = line.word_select(i, sizes[0])
            for bits in sizes[1:]:
                code = Mux(one_size[bits], line.word_select(i, bits), code)
            code = wire(m, code[: sizes[-1]], f"code_{i}")
            if config.cols <= i < group_rows(config) * config.cols:
                code = Mux(single, codes[i % config.cols], code)
            codes.append(code)
        return codes

    def _scale_bits(self) -> Value:
        blocks = block_formats(self._config)
        return by_format(self.command, blocks, [8 * entry.scale_bytes for entry in blocks])
