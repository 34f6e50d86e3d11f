"""QuantizeLinear in fp32 additions and products, exactly as ONNX defines it.

A code less its zero point is x / scale, rounded to fp32 as a quotient is, then to the nearest whole
number, ties to even, and kept between two of them. The chip has no division. The product with the
scale's rounded reciprocal is a few units in the last place from the quotient; that decides for the
wrong code only next to the middle between two. So take h, the multiple of 1/2 nearest to the
product, and g = x - h · scale: exact in two steps, as the scale is the sum of a number of 14 bits
and one of 10, and h has 10 bits at most. Near a middle g is a few units in the last place of x, its
product with the reciprocal as good as exact, and h plus that, rounded once, is the quotient.

The result has one step for each code; away from the steps both ways agree. `Quantiser` tries all
numbers around each step: what is emitted is proven for the scales in question.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from compiler.numerics import ROUNDING

F32 = NDArray[np.float32]
Value = TypeVar("Value")
Do = Callable[[str, Value, Any], Value]
LARGEST = 255  # magnitude of a code less its zero point: bf16 holds each
SCALES = 2.0**-100, 2.0**100  # between them nothing becomes subnormal or infinite
_NEAR = 16  # numbers to each side of a step, more than the units that either way can be off
_UPPER = np.uint32(0xFFFFFC00)  # 14 bits of a significand


@dataclass(frozen=True)
class Quantiser:
    """x → clip(round(x / scale), low, high).

    ``scale``: fp32, (1, width of a group) or (1, 1); ``low``, ``high``: whole numbers, the least
    and the greatest code less the zero point, likewise.
    """

    scale: F32
    low: F32
    high: F32

    def __post_init__(self) -> None:
        if not ((self.scale >= SCALES[0]) & (self.scale <= SCALES[1])).all():
            raise ValueError("its scale must be between 2^-100 and 2^100")
        if max(-self.low.min(), self.high.max()) > LARGEST:
            raise ValueError(f"its codes must differ from the zero point by at most {LARGEST}")

    @property
    def range(self) -> tuple[int, int]:
        """Of all results."""
        return int(self.low.min()), int(self.high.max())

    def emit(self, x: Value, do: Do) -> Value:
        """The result by operators of the canonical graph. ``do`` applies one: kind, first operand,
        second operand; that of "round" is a unit."""
        x = do("min", do("max", x, self.low * self.scale), self.high * self.scale)
        steps = self._near_steps()
        wanted = np.rint(steps / self.scale)
        for way in (self._quick, self._exact):
            if (way(steps, _numpy) == wanted).all():
                return way(x, do)
        raise ValueError("its codes cannot be computed exactly with this scale")

    def _quick(self, x: Value, do: Do) -> Value:
        return do("round", do("mul", x, np.float32(1) / self.scale), 1.0)

    def _exact(self, x: Value, do: Do) -> Value:
        inverse = np.float32(1) / self.scale
        upper = (self.scale.view(np.uint32) & _UPPER).view(np.float32)
        h = do("round", do("mul", x, inverse), 0.5)
        g = do("sub", do("sub", x, do("mul", h, upper)), do("mul", h, self.scale - upper))
        return do("round", do("add", h, do("mul", g, inverse)), 1.0)

    def _near_steps(self) -> F32:
        """Numbers around every step, within the limits: (many, width)."""
        middles = np.arange(self.low.min() + 0.5, self.high.max())[:, None]
        places = (middles * self.scale.astype(np.float64)).astype(np.float32)
        apart = np.arange(-_NEAR, _NEAR + 1, dtype=np.int32)[:, None, None]
        x = (places.view(np.int32) + apart).view(np.float32).reshape(-1, self.scale.size)
        return np.clip(x, self.low * self.scale, self.high * self.scale)


def _numpy(kind: str, a: Any, b: Any) -> Any:
    """An operator as the chip computes it."""
    if kind == "round":
        shift = np.float32(ROUNDING * b)
        return (a + shift) - shift
    return {"mul": np.multiply, "add": np.add, "sub": np.subtract}[kind](a, b)
