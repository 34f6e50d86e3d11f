"""One processing element of the systolic array."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.float import bf16_mul, fp_add

_REGISTERS = ("activation", "shadow", "weight")


class ProcessingElement(wiring.Component):
    """Multiplies the activations that pass by with a weight and adds them to the passing sums.

    Latency: an activation goes on to the right after 1 cycle; its product is in the sum on `sum_o`
    2 cycles after the activation came, added to the `sum_i` of 1 cycle after. Throughput: one per
    cycle, no back-pressure. The weight of an activation that comes with `swap_i`, and of all after
    it, is the shadow weight at that time; the next one can be loaded in that same cycle.

    Members
    -------
    a_i, swap_i / a_o, swap_o : activation (bf16) and the swap bit, from the left and to the right
    load_normal, normal : take `normal` (bf16) as shadow weight
    load_o : `load_normal`, 1 cycle later, to the right
    load_transposed, transposed : take `transposed`; wins over the other
    sum_i / sum_o : fp32, from above and down
    """

    a_i: In(16)
    swap_i: In(1)
    a_o: Out(16)
    swap_o: Out(1)
    load_normal: In(1)
    load_o: Out(1)
    normal: In(16)
    load_transposed: In(1)
    transposed: In(16)
    sum_i: In(32)
    sum_o: Out(32)

    def elaborate(self, platform):
        m = Module()
        chosen = Signal(16)
        # Data need no reset: what is not loaded or fed is never stored.
        activation, shadow, weight = (Signal(16, name=n, reset_less=True) for n in _REGISTERS)
        product, total = (Signal(32, name=n, reset_less=True) for n in ("product", "total"))
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
            product.eq(bf16_mul(m, self.a_i, chosen, "mul")),
            total.eq(fp_add(m, self.sum_i, product, "add")),
        ]
        with m.If(self.load_normal | self.load_transposed):
            m.d.sync += shadow.eq(Mux(self.load_transposed, self.transposed, self.normal))
        return m
