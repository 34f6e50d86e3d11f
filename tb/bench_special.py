"""Bench of the special functions: every class of arguments, pauses, against definition and float64.

Parameters: `lanes`, `sets` (of arguments for each function), `pause`.
"""

import random
from collections import deque

import cocotb
import numpy as np
from cocotb.triggers import FallingEdge

from isa import special
from rtl.special import Function, SpecialFunctions
from tb.agents import reset
from tb.coverage import Coverage
from tb.runner import bench_parameters

DEFINITIONS = {
    Function.RECIP: (special.recip, lambda x: 1 / x),
    Function.RSQRT: (special.rsqrt, lambda x: 1 / np.sqrt(x)),
    Function.EXP2: (special.exp2, np.exp2),
}
CLASSES = ("zero", "subnormal", "tiny", "small", "power of two", "large", "huge", "inf", "nan")
SMALLEST, GREATEST = 2.0**-126, float(np.finfo(np.float32).max)


def random_pattern(kind: str, sign: int) -> int:
    """An fp32 pattern of the class."""
    fraction = random.getrandbits(23)
    exponents = {"tiny": (1, 60), "small": (61, 126), "large": (127, 136), "huge": (137, 254)}
    if kind in exponents:
        return sign << 31 | random.randint(*exponents[kind]) << 23 | fraction | 1
    magnitude = {
        "zero": 0,
        "subnormal": fraction or 1,
        "power of two": random.randint(1, 254) << 23,
        "inf": 0x7F800000,
        "nan": 0x7F800000 | (fraction or 1),
    }
    return sign << 31 | magnitude[kind]


def result_class(pattern: int) -> str:
    exponent, fraction = pattern >> 23 & 0xFF, pattern & 0x7FFFFF
    if exponent == 0xFF:
        return "nan" if fraction else "inf"
    return "finite" if exponent else "zero"


def check(function: Function, x: int, y: int) -> None:
    """Bit for bit the definition; within one ulp of float64 where that is a normal number."""
    value = np.array([x], np.uint32).view(np.float32)
    defined, exact = DEFINITIONS[function]
    want = int(defined(value).view(np.uint32)[0])
    assert y == want, f"{function.name}({x:#x}): {y:#x}, not {want:#x}"
    if (
        not np.isfinite(value[0])
        or abs(value[0]) < SMALLEST
        or (function.name == "RSQRT" and x >> 31)
    ):
        return
    with np.errstate(all="ignore"):
        real = float(exact(value.astype(np.float64))[0])
    if SMALLEST <= abs(real) < GREATEST:
        got = float(np.array([y], np.uint32).view(np.float32)[0])
        ulp = 2.0 ** (np.floor(np.log2(abs(real))) - 23)
        assert abs(got - real) <= ulp, f"{function.name}({x:#x}): {got} is not {real}"


@cocotb.test()
async def all_classes(dut) -> None:
    """Results come `latency` steps after their arguments; without `go` everything stays."""
    sizes = bench_parameters()
    lanes = sizes["lanes"]
    cover = Coverage("special")
    functions = [function.name for function in Function]
    cover.point("argument", {"function": functions, "class": CLASSES, "sign": "+-"})
    cover.point("result", {"function": functions, "class": ("zero", "finite", "inf", "nan")})
    cover.point("pause", {"go": (0, 1), "before": (0, 1)})

    class _Idle:
        def idle(self) -> None:
            dut.go.value, dut.function.value = 0, 0
            for lane in range(lanes):
                getattr(dut, f"x_{lane}").value = 0

    await reset(dut, [_Idle()])
    before = 0
    for function in Function:
        inside: deque[list[int]] = deque()
        dut.function.value = function.value
        for step in range(sizes["sets"]):
            kind, sign = CLASSES[step % len(CLASSES)], step // len(CLASSES) % 2
            patterns = [random_pattern(kind, sign) for _ in range(lanes)]
            for lane, pattern in enumerate(patterns):
                getattr(dut, f"x_{lane}").value = pattern
            cover.hit("argument", function.name, kind, "+-"[sign])
            go = 0
            while not go:
                go = int(random.random() >= sizes["pause"])
                cover.hit("pause", go, before)
                dut.go.value = before = go
                await FallingEdge(dut.clk)
                if len(inside) == SpecialFunctions.latency and not go:
                    _compare(dut, cover, function, inside[0])  # nothing has moved
            inside.append(patterns)
            if len(inside) > SpecialFunctions.latency:
                inside.popleft()
            if len(inside) == SpecialFunctions.latency:
                _compare(dut, cover, function, inside[0])
    cover.save()


def _compare(dut, cover: Coverage, function: Function, patterns: list[int]) -> None:
    for lane, x in enumerate(patterns):
        y = int(getattr(dut, f"y_{lane}").value)
        check(function, x, y)
        cover.hit("result", function.name, result_class(y))
