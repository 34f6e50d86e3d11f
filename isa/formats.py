"""Storage formats of weights, keys and values, and what they are in the array's own format.

An element and its scale are expanded at the edge of the array to bf16, rounded to nearest even
where the product does not fit (only `i4` can need it; all others are exact), subnormal results
flushed to zeros of their sign, as everywhere (:mod:`isa.numbers`). OCP Microscaling Formats 1.0
defines E2M1, E8M0 and the MX blocks, OCP 8-bit Floating Point 1.0 E4M3 and E5M2; NVFP4 is a block
of 16 E2M1 elements with an E4M3 scale, the tensor's fp32 scale being applied behind the array.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isa import numbers, table
from isa.numbers import BF16, F32

Codes = NDArray[Any]  # uint8; of bf16 uint16
_NAN = np.uint32(numbers.QUIET_NAN).view(np.float32)


@dataclass(frozen=True)
class StorageFormat:
    """How an element lies in memory.

    ``block``: elements along K that share a scale (0: no scales); ``scale``: the scales' format,
    "e8m0", "e4m3" or "bf16"; ``arrays``: element types of the arrays that take it as weights.
    4-bit elements lie two in a byte, the lower four bits first.
    """

    name: str
    bits: int
    arrays: tuple[str, ...]
    block: int = 0
    scale: str = ""

    @property
    def scale_bytes(self) -> int:
        """Size of one scale; 0 without scales."""
        return {"": 0, "bf16": 2}.get(self.scale, 1)

    def bytes_of(self, elements: int) -> int:
        """Bytes of so many elements behind each other (even for 4-bit formats)."""
        return elements * self.bits // 8


FORMATS = {
    entry.name: entry
    for entry in (
        StorageFormat("bf16", 16, ("bf16",)),
        StorageFormat("e4m3", 8, ("bf16", "fp8")),
        StorageFormat("e5m2", 8, ("bf16", "fp8")),
        StorageFormat("i8", 8, ("bf16", "int8")),
        StorageFormat("i4", 4, ("bf16",), 32, "bf16"),
        StorageFormat("mxfp8", 8, ("bf16", "fp8"), 32, "e8m0"),
        StorageFormat("mxfp8_e5m2", 8, ("bf16", "fp8"), 32, "e8m0"),
        StorageFormat("mxfp4", 4, ("bf16", "fp8"), 32, "e8m0"),
        StorageFormat("nvfp4", 4, ("bf16",), 16, "e4m3"),
    )
}
if tuple(FORMATS) != table.WEIGHT_FORMATS:
    raise ValueError(f"formats must be {table.WEIGHT_FORMATS}, not {tuple(FORMATS)}")
# Activations: what each element type of an array takes.
ACTIVATIONS = {"bf16": ("bf16",), "fp8": ("e4m3", "e5m2"), "int8": ("i8",)}
_ELEMENT = {"mxfp8": "e4m3", "mxfp8_e5m2": "e5m2", "mxfp4": "e2m1", "nvfp4": "e2m1"}


def decode_float(codes: Codes, exponent_bits: int, mantissa_bits: int, kind: str) -> F32:
    """Values of small floating-point codes: exact, subnormals included.

    ``kind``: "ieee" (the top exponent is for infinities and NaNs), "fn" (only the code of all ones
    is a NaN, of either sign), "finite".
    """
    codes = np.asarray(codes, np.uint32)
    bias = (1 << exponent_bits - 1) - 1
    top = (1 << exponent_bits) - 1
    mantissa = codes & np.uint32((1 << mantissa_bits) - 1)
    exponent = (codes >> np.uint32(mantissa_bits) & np.uint32(top)).astype(np.int32)
    sign = np.where(codes >> np.uint32(exponent_bits + mantissa_bits) & np.uint32(1), -1.0, 1.0)
    normal = exponent > 0
    significand = mantissa + np.where(normal, 1 << mantissa_bits, 0)
    power = np.where(normal, exponent, 1) - bias - mantissa_bits
    value = np.ldexp(significand.astype(np.float64), power)
    if kind == "ieee":
        value = np.where(exponent == top, np.where(mantissa == 0, np.inf, np.nan), value)
    elif kind == "fn":
        all_ones = (exponent == top) & (mantissa == (1 << mantissa_bits) - 1)
        value = np.where(all_ones, np.nan, value)
    return numbers.canonical((sign * value).astype(np.float32))


def decode(name: str, codes: Codes) -> F32:
    """Values of elements (or scales) without their scale.

    ``name``: "bf16" (uint16 codes), "i8", "i4" (two's complement; the lower four bits), "e4m3",
    "e5m2", "e2m1", "e8m0" (all uint8), or a block format, which stands for its elements.
    """
    name = _ELEMENT.get(name, name)
    if name == "bf16":
        return numbers.from_bf16(codes)
    codes = np.asarray(codes, np.uint8)
    if name == "i8":
        return codes.view(np.int8).astype(np.float32)
    if name == "i4":
        return ((codes << np.uint8(4)).view(np.int8) >> 4).astype(np.float32)
    if name == "e4m3":
        return decode_float(codes, 4, 3, "fn")
    if name == "e5m2":
        return decode_float(codes, 5, 2, "ieee")
    if name == "e2m1":
        return decode_float(codes & np.uint8(15), 2, 1, "finite")
    if name == "e8m0":
        power = np.ldexp(1.0, codes.astype(np.int32) - 127)
        # 2^-127 is a subnormal fp32 number; the product with an element need not be one.
        return np.where(codes == 0xFF, np.nan, power)  # float64
    raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {name!r}")


def expand(name: str, codes: Codes, scales: Codes | None = None) -> BF16:
    """Weights in bf16, as they enter a floating-point array.

    codes: (K, N) element codes (one in each uint8, bf16: uint16); scales: (ceil(K / block), N)
    scale codes of block formats → (K, N) bf16 bit patterns.
    """
    entry = FORMATS[name]
    if entry.bits == 16:
        return numbers.to_bf16(numbers.from_bf16(codes))
    if not entry.block:
        return _expanded(name)[codes]
    if scales is None:
        raise ValueError(f"{name}: needs scales, one for each block of {entry.block}")
    of_rows = np.repeat(scales, entry.block, axis=0)[: len(codes)]
    if entry.scale_bytes == 1:
        return _expanded(name)[of_rows, codes]
    return _product(decode(name, codes), decode(entry.scale, of_rows))


@cache
def _expanded(name: str) -> BF16:
    """bf16 of every element code, for block formats of every (scale, element) code."""
    entry = FORMATS[name]
    values = decode(name, np.arange(1 << entry.bits, dtype=np.uint8))
    if not entry.block:
        return numbers.to_bf16(values)
    return _product(values, decode(entry.scale, np.arange(256, dtype=np.uint8))[:, None])


def _product(values: NDArray[Any], scales: NDArray[Any]) -> BF16:
    """values * scales in bf16: at most 4 + 8 significant bits, so exact before the rounding."""
    with np.errstate(all="ignore"):
        exact = values.astype(np.float64) * scales.astype(np.float64)
        flushed = np.where(np.abs(exact) < 2.0**-126, np.copysign(0.0, exact), exact)
        return numbers.to_bf16(flushed.astype(np.float32))


def unpack(name: str, data: Codes, elements: int) -> Codes:
    """Element codes of stored rows: data (..., bytes) uint8, of bf16 (..., n) uint16 → (...,
    elements)."""
    if FORMATS[name].bits > 4:
        return data[..., :elements]
    pairs = np.stack([data & np.uint8(15), data >> np.uint8(4)], axis=-1)
    return pairs.reshape(*data.shape[:-1], -1)[..., :elements]


def pack(name: str, codes: Codes) -> NDArray[np.uint8]:
    """Bytes of element codes: (..., n) → (..., bytes); n must be even for 4-bit formats."""
    if FORMATS[name].bits == 16:
        return np.ascontiguousarray(codes, np.uint16).view(np.uint8)
    codes = np.asarray(codes, np.uint8)
    if FORMATS[name].bits == 8:
        return codes
    if codes.shape[-1] % 2:
        raise ValueError(f"{name}: rows must have an even length, not {codes.shape[-1]}")
    return codes[..., ::2] & np.uint8(15) | codes[..., 1::2] << np.uint8(4)


def quantise(name: str, x: F32) -> NDArray[np.uint8]:
    """fp32 to "i8", "e4m3" or "e5m2" codes as the vector unit does it.

    Rounded to nearest, ties to even, into the format's range (also infinities: -128 … 127, ±448,
    ±57344); NaN becomes 0 in i8 and the positive NaN 0x7F otherwise. fp8 results may be subnormal.
    """
    x = numbers.canonical(x)
    if name == "i8":
        limited = np.clip(np.rint(np.where(np.isnan(x), np.float32(0), x)), -128, 127)
        return limited.astype(np.int8).view(np.uint8)
    if name == "e4m3":
        return _to_fp8(x, 4, 3, 448.0)
    if name == "e5m2":
        return _to_fp8(x, 5, 2, 57344.0)
    raise ValueError(f"format must be i8, e4m3 or e5m2, not {name!r}")


def _to_fp8(x: F32, exponent_bits: int, mantissa_bits: int, largest: float) -> NDArray[np.uint8]:
    bias = (1 << exponent_bits - 1) - 1
    magnitude = np.abs(np.where(np.isnan(x), np.float32(0), x)).astype(np.float64)
    magnitude = np.minimum(magnitude, largest)
    # magnitude = m 2^exponent, 0.5 <= m < 1; below the normal numbers all have the least exponent.
    exponent = np.maximum(np.frexp(magnitude)[1] - 1, 1 - bias)
    steps = np.rint(np.ldexp(magnitude, mantissa_bits - exponent)).astype(np.int64)
    # A carry goes into the exponent by itself.
    code = np.where(steps == 0, 0, steps + (exponent + bias - 1 << mantissa_bits))
    code = code | np.where(np.signbit(x), 0x80, 0)
    return np.where(np.isnan(x), 0x7F, code).astype(np.uint8)
