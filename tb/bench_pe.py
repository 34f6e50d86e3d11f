"""Bench of `ProcessingElement`: random values of every kind against `isa.numbers`."""

import random

import cocotb
from cocotb.triggers import FallingEdge

from rtl.expand import operand_bits
from tb import rounding
from tb.agents import reset
from tb.coverage import Coverage
from tb.matrix_reference import add, multiply
from tb.runner import bench_parameters

KINDS = ("zero", "subnormal", "normal", "infinite", "nan")
SIGNS = ("+", "-")


def _float(bits: int) -> int:
    """A floating-point code of so many bits, 8 of them exponent; of each kind as many."""
    fraction_bits = bits - 9
    fraction = random.randrange(1, 1 << fraction_bits)
    sign, kind = random.getrandbits(1) << bits - 1, random.choice(KINDS)
    exponent = {"normal": random.randrange(1, 0xFF), "infinite": 0xFF, "nan": 0xFF}.get(kind, 0)
    return sign | exponent << fraction_bits | (0 if kind in ("zero", "infinite") else fraction)


def _operand(element: str) -> int:
    """Of an array of that element type: special or anything, if a float mostly around 1."""
    bits = operand_bits(element)
    if element == "int8":
        return random.choice([0, 1, 0x7F, 0x80, 0xFF, random.getrandbits(8)])
    near_one = 0x3F00 ^ random.getrandbits(9) ^ random.getrandbits(1) << 15
    return random.choice([near_one >> 16 - bits, random.getrandbits(bits), _float(bits)])


def _next_sum(element: str, last: int) -> int:
    """Anything, or what nearly cancels the last product, has to be rounded with it, or is near the
    ends of the range."""
    if element == "int8":
        return random.choice([random.getrandbits(32), 0x80000000 + random.randrange(-9999, 9999)])
    nearby = last ^ 1 << 31 ^ random.getrandbits(random.choice([1, 8, 24]))
    largest = 0x7F7FFFFF ^ random.getrandbits(1) << 31
    exponent = min(max((last >> 23 & 0xFF) + random.randint(-3, 3), 1), 0xFE)
    close = random.getrandbits(1) << 31 | exponent << 23 | random.getrandbits(23)
    return random.choice([random.getrandbits(32), nearby, close, _float(32), largest])


def _kind(code: int, bits: int) -> tuple[str, str]:
    """What a floating-point code of so many bits, 8 of them exponent, is."""
    fraction_bits = bits - 9
    exponent, fraction = code >> fraction_bits & 0xFF, code & (1 << fraction_bits) - 1
    sign = SIGNS[code >> bits - 1]
    if exponent == 0:
        return sign, "subnormal" if fraction else "zero"
    if exponent == 0xFF:
        return sign, "nan" if fraction else "infinite"
    return sign, "normal"


def _coverage(element: str) -> Coverage:
    cover = Coverage(f"pe_{element}")
    cover.point("control", {"swap": [0, 1], "load": ["none", "normal", "transposed", "both"]})
    if element == "int8":
        signs = ["-", "0", "+"]
        cover.point("product", {"a": signs, "w": signs})
        cover.point("wrap", {"sum beyond 2^31": ["below", "within", "above"]})
    else:
        cover.point("a", {"sign": SIGNS, "kind": KINDS})
        cover.point("product", {"sign": SIGNS, "a": KINDS, "w": KINDS})
        cover.point("addition", {"sum": KINDS, "product": [k for k in KINDS if k != "subnormal"]})
        cover.point("rounding", {"signs": rounding.SIGNS, "case": rounding.CASES})
        cover.point("result", {"sign": SIGNS, "kind": ["zero", "normal", "infinite"]})
    return cover


def _note(cover: Coverage, element: str, a: int, w: int, addend: int, product: int) -> None:
    """Count what a product and the addition of the one before are."""
    if element == "int8":
        values = [x - 256 if x > 127 else x for x in (a, w)]
        cover.hit("product", *("-0+"[(x > 0) - (x < 0) + 1] for x in values))
        total = sum(x - (x >> 31 << 32) for x in (addend, product))
        side = (total >= 1 << 31) - (total < -(1 << 31))
        cover.hit("wrap", ("within", "above", "below")[side])
        return
    bits = operand_bits(element)
    kind_a, kind_w = _kind(a, bits), _kind(w, bits)
    cover.hit("a", *kind_a)
    cover.hit("product", SIGNS[kind_a[0] != kind_w[0]], kind_a[1], kind_w[1])
    cover.hit("addition", _kind(addend, 32)[1], _kind(product, 32)[1])
    if (case := rounding.rounding(addend, product)) is not None:
        cover.hit("rounding", *case)
    sign, kind = _kind(add(element, addend, product), 32)
    if kind != "nan":
        cover.hit("result", sign, kind)


@cocotb.test()
async def random_traffic(dut) -> None:
    parameters = bench_parameters()
    element = parameters["element"]
    cover = _coverage(element)
    await reset(dut)
    weight = shadow = _operand(element)
    product = 0
    for cycle in range(parameters["cycles"]):
        activation, normal, transposed = (_operand(element) for _ in range(3))
        down, across = random.random() < 0.4, random.random() < 0.2
        swap, addend = cycle == 1 or random.random() < 0.4, _next_sum(element, product)
        if cycle == 0 and not across:  # so that neither weight is what was left from before
            down, normal = True, shadow
        dut.a_i.value, dut.swap_i.value, dut.sum_i.value = activation, swap, addend
        dut.load_normal.value, dut.normal.value = down, normal
        dut.load_transposed.value, dut.transposed.value = across, transposed
        await FallingEdge(dut.clk)
        assert (int(dut.a_o.value), int(dut.swap_o.value)) == (activation, swap)
        weight = shadow if swap else weight
        if cycle > 2:
            want = add(element, addend, product)
            assert int(dut.sum_o.value) == want, f"{addend:#x} + {product:#x}"
            _note(cover, element, activation, weight, addend, product)
            load = ("none", "normal", "transposed", "both")[down + 2 * across]
            cover.hit("control", int(swap), load)
        product = multiply(element, activation, weight)
        if down or across:
            shadow = transposed if across else normal
    cover.save()
