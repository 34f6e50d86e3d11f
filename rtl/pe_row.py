"""One row of the systolic array."""

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.pe import ProcessingElement
from rtl.platform import place


class ElementRow(wiring.Component):
    """``cols`` processing elements side by side: one activation, `cols` weights, `cols` sums.

    Latency: the activation, its swap bit and the load enable reach column c after c cycles; timing
    at a column as in `ProcessingElement`. Throughput: one activation a cycle, no back-pressure.

    Members
    -------
    a_i, swap_i : activation (bf16) and swap bit of column 0
    load_i, normal : load enable of column 0; `cols` weights, column c's due c cycles later
    col_en, transposed : columns that take `transposed` as shadow weight in this cycle
    sum_i / sum_o : `cols` fp32 values from above and down
    """

    def __init__(self, cols: int):
        self._cols = cols
        super().__init__(
            {
                "a_i": In(16),
                "swap_i": In(1),
                "load_i": In(1),
                "normal": In(16 * cols),
                "col_en": In(cols),
                "transposed": In(16),
                "sum_i": In(32 * cols),
                "sum_o": Out(32 * cols),
            }
        )

    def elaborate(self, platform):
        m = Module()
        activation, swap, load = self.a_i, self.swap_i, self.load_i
        sums = []
        for c in range(self._cols):
            inputs = {
                "a_i": activation,
                "swap_i": swap,
                "load_normal": load,
                "normal": self.normal.word_select(c, 16),
                "load_transposed": self.col_en[c],
                "transposed": self.transposed,
                "sum_i": self.sum_i.word_select(c, 32),
            }
            pe = place(m, platform, f"pe_{c}", "jx_pe", ProcessingElement, inputs)
            activation, swap, load = pe["a_o"], pe["swap_o"], pe["load_o"]
            sums.append(pe["sum_o"])
        m.d.comb += self.sum_o.eq(Cat(sums))
        return m
