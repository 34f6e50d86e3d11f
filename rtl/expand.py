"""Expander: a stored weight, its scale and its format to what the array multiplies."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from isa.numbers import QUIET_NAN
from rtl.float import normalise, wire

_OPERAND_BITS = {"bf16": 16, "fp8": 12, "int8": 8}
_INFINITY = 0xFF  # the exponent of infinities and NaNs
_BIAS = 127
# The codes that an expander takes, by the array's element type.
CODES = {
    "bf16": ("bf16", "e8m0", "e4m3", "e5m2", "e2m1", "i8", "i4"),
    "fp8": ("e8m0", "e4m3", "e5m2", "e2m1"),
}


def operand_bits(element: str) -> int:
    """Width of what the array multiplies: bf16; for fp8 its upper 12 bits (sign, 8 bits of
    exponent, 3 of mantissa: every fp8 value is a normal number there); int8."""
    return _OPERAND_BITS[element]


def kind_layout(element: str) -> data.StructLayout:
    """What an expander is to make of a code: one bit for each of ``CODES[element]``, one of them
    set. ``scaled``: times the scale; ``power``: the scale was an E8M0 code."""
    return data.StructLayout(dict.fromkeys(CODES[element], 1) | {"scaled": 1, "power": 1})


class Expander(wiring.Component):
    """`isa.formats.expand` of one element, for a floating-point array (``element`` bf16 or fp8).

    The product of an element and its scale is rounded to nearest even (which only int4 elements
    need); below 2^-126 it is a zero, beyond bf16's range infinite, NaN where element or scale is
    one. bf16 codes go through as they are: the array takes any.

    A scale has the form of an operand, and the expander itself makes it of the scale's code. That
    of the E8M0 code 0, 2^-127, has exponent 0: ``power`` tells it from a zero.

    Members
    -------
    kind : `kind_layout`
    code : the element, or the scale, in the lowest bits
    scale : that of the element
    inside : the element is one of the matrix; else the operand is +0
    expanded : the result, in the same cycle, whether `inside` or not
    operand : the result, one cycle later
    """

    def __init__(self, element: str):
        self._codes, self._bits = CODES[element], operand_bits(element)
        super().__init__(
            {
                "kind": In(kind_layout(element)),
                "code": In(16 if element == "bf16" else 8),
                "scale": In(self._bits),
                "inside": In(1),
                "expanded": Out(self._bits),
                "operand": Out(self._bits),
            }
        )

    def elaborate(self, platform):
        m = Module()
        kind, code, fraction_bits = self.kind, self.code, self._bits - 9
        sign, exponent, significand = self._decode(m)
        scale = wire(m, Mux(kind.scaled, self.scale, _BIAS << fraction_bits), "used_scale")
        product, tiny = self._multiply(m, exponent, significand, scale)
        element_zero = ~significand[-1]
        scale_zero = (scale[fraction_bits:-1] == 0) & ~kind.power
        scale_special = scale[fraction_bits:-1] == _INFINITY
        element_nan, element_infinite = self._specials()
        nan = element_nan | (scale_special & (element_zero | scale[:fraction_bits].any()))
        zero = wire(m, element_zero | scale_zero | tiny, "zero")
        infinite = scale_special | element_infinite
        huge = infinite | (~zero & (product[fraction_bits:] >= _INFINITY + _BIAS))
        finite = Cat(product[:fraction_bits], (product[fraction_bits:] - _BIAS)[:8])
        magnitude = Mux(huge, _INFINITY << fraction_bits, Mux(zero, 0, finite))
        signed = Cat(magnitude[: self._bits - 1], sign ^ scale[-1])
        result = Mux(nan, QUIET_NAN >> 32 - self._bits, signed)
        power = Cat(Const(0, fraction_bits - 1), code[:8].all(), code[:8])  # 0xFF is NaN
        result = Mux(kind.e8m0, power, result)
        if self._takes("bf16"):
            result = Mux(kind.bf16, code, result)
        m.d.comb += self.expanded.eq(result)
        m.d.sync += self.operand.eq(Mux(self.inside, self.expanded, 0))
        return m

    def _takes(self, code: str) -> bool:
        return code in self._codes

    def _decode(self, m: Module) -> tuple[Value, Value, Signal]:
        """Sign, biased exponent and significand (leading one on top, unless it is a zero)."""
        code, kind = self.code, self.kind
        forms = {
            "e4m3": _float(code, 4, 3, 120),
            "e5m2": _float(code, 5, 2, 112),
            "e2m1": _float(code, 2, 1, 126),
        }
        width = 4
        if self._takes("i8"):
            forms |= {"i8": _integer(code[:8], 134), "i4": _integer(code[:4], 130)}
            width = 8
        sign, exponent, digits = (Const(0, bits) for bits in (1, 8, width))
        for name, (its_sign, its_exponent, its_digits) in forms.items():
            filled = Cat(Const(0, width - len(its_digits)), its_digits)
            sign = Mux(kind[name], its_sign, sign)
            exponent = Mux(kind[name], its_exponent, exponent)
            digits = Mux(kind[name], filled, digits)
        significand, zeros = normalise(m, wire(m, digits[:width], "digits"), "element")
        return sign, wire(m, (exponent - zeros)[:8], "exponent"), significand

    def _specials(self) -> tuple[Value, Value]:
        """Whether the element is a NaN, or infinite."""
        code, kind = self.code, self.kind
        ieee = kind.e5m2 & code[2:7].all()
        return (kind.e4m3 & code[:7].all()) | (ieee & code[:2].any()), ieee & ~code[:2].any()

    def _multiply(
        self, m: Module, exponent: Value, significand: Signal, scale: Signal
    ) -> tuple[Signal, Value]:
        """Fraction and, above it, exponent of element times scale, biased twice; whether it is
        below 2^-126 before it is rounded."""
        fraction_bits = self._bits - 9
        total = (exponent + scale[fraction_bits:-1])[:9]
        if not self._takes("i8"):  # scales are powers of two
            total = wire(m, total, "total")
            return wire(m, Cat(significand[:-1], total), "product"), total <= _BIAS
        scaled = self.kind.scaled
        # Elements that have a scale have at most 4 digits, scales 8.
        digits = wire(m, significand[4:] * Cat(scale[:7], Const(1, 1)), "digit_product")
        carry = digits[-1] & scaled
        normal = Mux(scaled, Mux(carry, digits, Cat(Const(0, 1), digits)), significand << 4)
        places = wire(m, normal[:12], "places")
        total = wire(m, (total + carry)[:9], "total")
        product = (Cat(places[:11], total) + (7 + places[4]))[4:20]
        return wire(m, product, "product"), total <= _BIAS


def _float(
    code: Value, exponent_bits: int, mantissa_bits: int, offset: int
) -> tuple[Value, Value, Value]:
    """Sign, biased exponent and digits of a code; the exponent is that of its top digit, which is
    zero where the code is subnormal."""
    sign_at = exponent_bits + mantissa_bits
    field = code[mantissa_bits:sign_at]
    normal = field.any()
    exponent = (Mux(normal, field, 1) + offset)[:8]
    return code[sign_at], exponent, Cat(code[:mantissa_bits], normal)


def _integer(code: Value, exponent: int) -> tuple[Value, Value, Value]:
    """Likewise of two's complement; `exponent` is that of its top digit."""
    magnitude = Mux(code[-1], -code, code)[: len(code)]
    return code[-1], Const(exponent, 8), magnitude
