"""One row of the systolic array."""

from functools import partial

from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.expand import operand_bits
from rtl.pe import ProcessingElement
from rtl.platform import place


class ElementRow(wiring.Component):
    """``cols`` processing elements side by side: one activation, `cols` weights, `cols` sums.

    Latency: the activation, its swap bit and the load enable reach column c after c cycles; timing
    at a column as in `ProcessingElement`. Throughput: one activation a cycle, no back-pressure.

    Members
    -------
    a_i, swap_i : activation and swap bit of column 0
    load_i, normal : load enable of column 0; `cols` weights, column c's due c cycles later
    col_en, transposed : columns that take `transposed` as shadow weight in this cycle
    sum_i / sum_o : `cols` sums from above and down
    """

    def __init__(self, cols: int, element: str):
        self._cols, self._element = cols, element
        bits = operand_bits(element)
        super().__init__(
            {
                "a_i": In(bits),
                "swap_i": In(1),
                "load_i": In(1),
                "normal": In(bits * cols),
                "col_en": In(cols),
                "transposed": In(bits),
                "sum_i": In(32 * cols),
                "sum_o": Out(32 * cols),
            }
        )

    def elaborate(self, platform):
        m = Module()
        activation, swap, load = self.a_i, self.swap_i, self.load_i
        sums = []
        bits, make = operand_bits(self._element), partial(ProcessingElement, self._element)
        for c in range(self._cols):
            inputs = {
                "a_i": activation,
                "swap_i": swap,
                "load_normal": load,
                "normal": self.normal.word_select(c, bits),
                "load_transposed": self.col_en[c],
                "transposed": self.transposed,
                "sum_i": self.sum_i.word_select(c, 32),
            }
            pe = place(m, platform, f"pe_{c}", "jx_pe", make, inputs)
            activation, swap, load = pe["a_o"], pe["swap_o"], pe["load_o"]
            sums.append(pe["sum_o"])
        m.d.comb += self.sum_o.eq(Cat(sums))
        return m
