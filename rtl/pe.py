"""One processing element of the systolic array."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.expand import operand_bits
from rtl.float import bf16_mul, fp_add

_REGISTERS = ("activation", "shadow", "weight")


class ProcessingElement(wiring.Component):
    """Multiplies the activations that pass by with a weight and adds them to the passing sums.

    Operands have `operand_bits(element)` bits: bf16, bf16 without its last four mantissa bits (fp8
    arrays), or int8. Sums are fp32, or int32 modulo 2^32.

    Latency: an activation goes on to the right after 1 cycle; its product is in the sum on `sum_o`
    2 cycles after the activation came, added to the `sum_i` of 1 cycle after. Throughput: one per
    cycle, no back-pressure. The weight of an activation that comes with `swap_i`, and of all after
    it, is the shadow weight at that time; the next one can be loaded in that same cycle.

    Members
    -------
    a_i, swap_i / a_o, swap_o : activation and the swap bit, from the left and to the right
    load_normal, normal : take `normal` as shadow weight
    load_o : `load_normal`, 1 cycle later, to the right
    load_transposed, transposed : take `transposed`; wins over the other
    sum_i / sum_o : from above and down
    """

    def __init__(self, element: str):
        self._element, self._bits = element, operand_bits(element)
        super().__init__(
            {
                "a_i": In(self._bits),
                "swap_i": In(1),
                "a_o": Out(self._bits),
                "swap_o": Out(1),
                "load_normal": In(1),
                "load_o": Out(1),
                "normal": In(self._bits),
                "load_transposed": In(1),
                "transposed": In(self._bits),
                "sum_i": In(32),
                "sum_o": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()
        chosen = Signal(self._bits)
        # Data need no reset: what is not loaded or fed is never stored.
        activation, shadow, weight = (
            Signal(self._bits, name=name, reset_less=True) for name in _REGISTERS
        )
        total = Signal(32, reset_less=True)
        m.d.comb += [
            chosen.eq(Mux(self.swap_i, shadow, weight)),
            self.a_o.eq(activation),
            self.sum_o.eq(total),
        ]
        m.d.sync += [
            activation.eq(self.a_i),
            self.swap_o.eq(self.swap_i),
            self.load_o.eq(self.load_normal),
            weight.eq(chosen),
            total.eq(self._next_total(m, chosen)),
        ]
        with m.If(self.load_normal | self.load_transposed):
            m.d.sync += shadow.eq(Mux(self.load_transposed, self.transposed, self.normal))
        return m

    def _next_total(self, m: Module, weight: Signal) -> Value:
        """The passing sum plus the product, which is registered."""
        if self._element == "int8":
            product = Signal(signed(16), reset_less=True)
            m.d.sync += product.eq(self.a_i.as_signed() * weight.as_signed())
            return self.sum_i + product
        product = Signal(32, reset_less=True)
        # Constant bits below an fp8 array's operands: synthesis leaves a multiplier of 4 x 4 bits.
        padding = Const(0, 16 - self._bits)
        a, w = Cat(padding, self.a_i), Cat(padding, weight)
        m.d.sync += product.eq(bf16_mul(m, a, w, "mul"))
        return fp_add(m, self.sum_i, product, "add")
