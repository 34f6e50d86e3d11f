"""The systolic array: R x C processing elements and the registers that skew what enters."""

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from rtl.pe import ProcessingElement
from rtl.platform import place

_NEGATIVE_ZERO = Const(1 << 31, 32)  # x + -0.0 is x, also for x = -0.0 and +0.0


def group_rows(config: ChipConfig) -> int:
    """Rows of weights that enter the array in one cycle when they lie packed in the SRAM."""
    return min(config.weight_rows_per_cycle, config.rows)


def row_layout(config: ChipConfig) -> data.StructLayout:
    """What enters the array in a cycle: an activation for each row, and the swap bit."""
    return data.StructLayout({"swap": 1, "a": data.ArrayLayout(16, config.rows)})


def weight_layout(config: ChipConfig) -> data.StructLayout:
    """What the weights' loader gives in a cycle.

    ``row_en``: rows whose shadows take ``normal[r mod q][c]``, q = `group_rows`;
    ``col_en``: columns whose shadows take ``transposed[r]``.
    """
    normal = data.ArrayLayout(data.ArrayLayout(16, config.cols), group_rows(config))
    return data.StructLayout(
        {
            "row_en": config.rows,
            "col_en": config.cols,
            "normal": normal,
            "transposed": data.ArrayLayout(16, config.rows),
        }
    )


class SystolicArray(wiring.Component):
    """psum[c] = sum over r of a[r] * weight[r, c], in the order of `numbers.matmul`'s tiles.

    Latency R + 1 + c cycles from `row` to `sums[c]`; one row per cycle; no back-pressure. A row
    with `swap` makes itself and all later rows use the shadow weights.

    A tile is loaded in consecutive cycles (normal: q rows a cycle, or one; transposed: a column a
    cycle). With L the cycle in which its first weights are on `weights` and s that of its first
    row on `row`, it needs s >= L + 1, and the next tile's weights must not come before
    s + (R-1) - floor((R-1)/q) (normal; q = 1 for one row a cycle) or s + R - 1 (transposed).

    Members
    -------
    row : `row_layout`; not skewed, row r's activation is delayed here by r cycles
    weights : `weight_layout`; normal ones are delayed by c cycles on the way to column c
    sums : C fp32 values, column c's one c cycles after column 0's
    """

    def __init__(self, config: ChipConfig):
        self._config = config
        super().__init__(
            {
                "row": In(row_layout(config)),
                "weights": In(weight_layout(config)),
                "sums": Out(32).array(config.cols),
            }
        )

    def elaborate(self, platform):
        m = Module()
        rows, cols = self._config.rows, self._config.cols
        columns = [self._column_weights(m, c) for c in range(cols)]
        sums: list = [_NEGATIVE_ZERO] * cols
        for r in range(rows):
            activation = _delay(m, Cat(self.row.a[r], self.row.swap), r, f"row{r}")
            for c in range(cols):
                pe = place(m, platform, f"pe_{r}_{c}", "jx_pe", ProcessingElement)
                self._connect_weights(m, pe, r, c, *columns[c])
                m.d.comb += [
                    Cat(pe.a_i, pe.swap_i).eq(activation),
                    pe.sum_i.eq(sums[c]),
                ]
                activation, sums[c] = Cat(pe.a_o, pe.swap_o), pe.sum_o
        m.d.comb += [self.sums[c].eq(sums[c]) for c in range(cols)]
        return m

    def _connect_weights(self, m: Module, pe, r: int, c: int, enables, normal) -> None:
        slot = r % group_rows(self._config)
        m.d.comb += [
            pe.load_normal.eq(enables[r]),
            pe.normal.eq(normal.word_select(slot, 16)),
            pe.load_transposed.eq(self.weights.col_en[c]),
            pe.transposed.eq(self.weights.transposed[r]),
        ]

    def _column_weights(self, m: Module, c: int) -> tuple[Signal, Signal]:
        """Column c's row enables and group of weights, delayed by c cycles."""
        slots = range(group_rows(self._config))
        normal = Cat(self.weights.normal[slot][c] for slot in slots)
        enables = _delay(m, self.weights.row_en, c, f"row_en{c}")
        return enables, _delay(m, normal, c, f"normal{c}")


def _delay(m: Module, value: Value, cycles: int, name: str) -> Signal:
    """The value, `cycles` cycles later."""
    for step in range(cycles + 1):
        stage = Signal(len(value), name=f"{name}_{step}")
        m.d["sync" if step else "comb"] += stage.eq(value)
        value = stage
    return value
