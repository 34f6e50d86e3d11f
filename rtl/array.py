"""The systolic array: R x C processing elements and the registers that skew what enters."""

from functools import partial

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from isa.config import ChipConfig
from rtl.delay import delayed
from rtl.expand import operand_bits
from rtl.pe_row import ElementRow
from rtl.platform import place


def _first_sums(config: ChipConfig) -> Value:
    """What enters above: 0, and of floats the -0.0 to which any x adds up to x, also x = +-0.0."""
    return Cat(Const(0 if config.element == "int8" else 1 << 31, 32) for _ in range(config.cols))


def group_rows(config: ChipConfig) -> int:
    """Rows of weights that enter the array in one cycle when they lie packed in the SRAM."""
    return min(config.weight_rows_per_cycle, config.rows)


def row_layout(config: ChipConfig) -> data.StructLayout:
    """What enters the array in a cycle: an activation for each row, and the swap bit."""
    bits = operand_bits(config.element)
    return data.StructLayout({"swap": 1, "a": data.ArrayLayout(bits, config.rows)})


def weight_layout(config: ChipConfig) -> data.StructLayout:
    """What the weights' loader gives in a cycle.

    ``row_en``: rows whose shadows take ``normal[r mod q][c]``, q = `group_rows`; ``packed``: they
    are a group of q; ``col_en``: columns whose shadows take ``transposed[r]``.
    """
    bits = operand_bits(config.element)
    normal = data.ArrayLayout(data.ArrayLayout(bits, config.cols), group_rows(config))
    return data.StructLayout(
        {
            "row_en": config.rows,
            "col_en": config.cols,
            "packed": 1,
            "normal": normal,
            "transposed": data.ArrayLayout(bits, config.rows),
        }
    )


class SystolicArray(wiring.Component):
    """psum[c] = sum over r of a[r] * weight[r, c], in the order of `numbers.matmul`'s tiles.

    Operands and sums are those of `ProcessingElement`.

    Latency R + 1 + c cycles from `row` to `sums[c]`; one row per cycle; no back-pressure. A row
    with `swap` makes itself and all later rows use the shadow weights.

    A tile is loaded in consecutive cycles (normal: q rows a cycle, or one; transposed: a column a
    cycle). With L the cycle in which its first weights are on `weights` and s that of its first
    row on `row`, it needs s >= L + 1, and the next tile's weights must not come before
    s + R - 1 - `timing.rows_ahead` (normal; q = 1 for one row a cycle) or s + R - 1 (transposed).

    Members
    -------
    row : `row_layout`; not skewed, row r's activation is delayed here by r cycles
    weights : `weight_layout`; normal ones are delayed by c cycles on the way to column c, and of a
        group row i by i cycles: it follows the swap, which goes down a row a cycle
    sums : C sums, column c's one c cycles after column 0's
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
        rows, cols, element = self._config.rows, self._config.cols, self._config.element
        normal = self._normal_weights(m, platform)
        bits, make = operand_bits(element), partial(ElementRow, cols, element)
        sums, enables = _first_sums(self._config), self._enables(m, platform, len(normal))
        for r in range(rows):
            skewed = delayed(m, platform, Cat(self.row.a[r], self.row.swap), r, f"skew_{r}")
            inputs = {
                "a_i": skewed[:bits],
                "swap_i": skewed[bits],
                "load_i": enables[r],
                "normal": normal[r % len(normal)],
                "col_en": self.weights.col_en,
                "transposed": self.weights.transposed[r],
                "sum_i": sums,
            }
            sums = place(m, platform, f"row_{r}", "jx_row", make, inputs)["sum_o"]
        m.d.comb += [self.sums[c].eq(sums.word_select(c, 32)) for c in range(cols)]
        return m

    def _enables(self, m: Module, platform: object, group: int) -> list[Value]:
        """Of each row, in a group row i's i cycles late."""
        enables: list[Value] = []
        for r in range(self._config.rows):
            now, late = self.weights.row_en[r], self.weights.row_en[r] & self.weights.packed
            late = delayed(m, platform, late, r % group, f"enable_{r}")
            enables.append((now & ~self.weights.packed) | late if r % group else now)
        return enables

    def _late(self, m: Module, platform: object, slot: int) -> Signal:
        """The weights of a group's row ``slot``, so many cycles late; of a row by itself at once.

        One load's last group and the next one's single rows never meet here: those begin behind
        it, and reach this slot as many cycles later as it is late.
        """
        weights = Signal(len(Value.cast(self.weights.normal[slot])), name=f"weights_{slot}")
        both = Cat(self.weights.packed, Value.cast(self.weights.normal[slot]))
        late = delayed(m, platform, both, slot, f"late_{slot}")
        m.d.comb += weights.eq(Mux(late[0], late[1:], both[1:]))
        return weights

    def _normal_weights(self, m: Module, platform: object) -> list[Signal]:
        """Of each of the q rows that load together, the weights; column c's c cycles late."""
        slots, cols = range(group_rows(self._config)), range(self._config.cols)
        bits = operand_bits(self._config.element)
        late, groups = [self._late(m, platform, slot) for slot in slots], []
        for c in cols:
            group = Cat(late[slot].word_select(c, bits) for slot in slots)
            groups.append(delayed(m, platform, group, c, f"normal_{c}"))
        normal = [Signal(bits * len(cols), name=f"normal_slot{slot}") for slot in slots]
        for slot in slots:
            m.d.comb += normal[slot].eq(Cat(group.word_select(slot, bits) for group in groups))
        return normal
