"""What a matrix unit must compute: operands of every format, and the accumulators they lead to."""

import numpy as np
from numpy.typing import NDArray

from isa import formats, numbers
from isa.config import ChipConfig
from isa.formats import FORMATS, Codes
from rtl.expand import operand_bits

ACTIVATION = {"bf16": "bf16", "fp8": "e4m3", "int8": "i8"}  # an activation format of each array


def multiply(element: str, a: int, w: int) -> int:
    """The product of two operands of the array, as bits of a sum (fp32, or int32)."""
    if element == "int8":
        return _signed(a) * _signed(w) % (1 << 32)
    codes = np.array([a, w], np.uint16) << np.uint16(16 - operand_bits(element))
    return int(numbers.mul(*numbers.from_bf16(codes)).view(np.uint32))


def _signed(code: int) -> int:
    return (code ^ 0x80) - 0x80


def add(element: str, x: int, y: int) -> int:
    """The sum of two sums."""
    if element == "int8":
        return (x + y) % (1 << 32)
    return int(numbers.add(*np.array([x, y], np.uint32).view(np.float32)).view(np.uint32))


def tile(config: ChipConfig, a: NDArray, w: NDArray) -> NDArray[np.uint32]:
    """What leaves the array: a: (M, R), w: (R, C) operands → (M, C)."""
    if config.element == "int8":
        operands = (x.astype(np.uint8).view(np.int8) for x in (a, w))
        return numbers.matmul_int8(*operands).view(np.uint32)
    shift = np.uint16(16 - operand_bits(config.element))
    operands = (x.astype(np.uint16) << shift for x in (a, w))
    return numbers.matmul_bf16(*operands, config.rows).view(np.uint32)


def random_operands(dice: np.random.Generator, element: str, *shape: int) -> NDArray:
    """Operands of the array: floats around 1, or any integers."""
    if element == "int8":
        return dice.integers(0, 256, shape)
    values = numbers.to_bf16(dice.standard_normal(shape).astype(np.float32))
    return values >> np.uint16(16 - operand_bits(element))


def taken(config: ChipConfig) -> list[tuple[str, str]]:
    """Every pair of activation and weight formats that the chip takes."""
    weights = [name for name, entry in FORMATS.items() if config.element in entry.arrays]
    return [(af, wf) for af in formats.ACTIVATIONS[config.element] for wf in weights]


def random_codes(dice: np.random.Generator, name: str, *shape: int, calm: bool = False) -> Codes:
    """Codes of a storage format or of scales; all occur, the non-finite ones seldom, or if ``calm``
    never."""
    if name == "bf16":
        return _bf16(dice, *shape, calm=calm)
    share = 0.0 if calm else 0.02
    codes = dice.integers(0, 16 if name in ("i4", "mxfp4", "nvfp4") else 256, shape, np.uint8)
    if name == "e8m0":  # mostly near 1
        return np.where(dice.random(shape) < share, codes, 120 + codes % 16).astype(np.uint8)
    finite = np.isfinite(formats.decode(name, codes))
    return np.where(finite | (dice.random(shape) < share), codes, codes & 0x13).astype(np.uint8)


def _bf16(dice: np.random.Generator, *shape: int, calm: bool) -> NDArray[np.uint16]:
    """Values around 1, unless ``calm`` with some big, tiny, zero, subnormal and, rarely, non-finite
    ones."""
    values = numbers.to_bf16(dice.standard_normal(shape).astype(np.float32))
    if calm:
        return values
    anything = dice.integers(0, 1 << 16, shape, dtype=np.uint16)
    values = np.where(dice.random(shape) < 0.05, anything, values)
    special = dice.choice(np.array([0, 0x8000, 0x0001, 0x7F80, 0x7FC1], np.uint16), shape)
    return np.where(dice.random(shape) < 0.01, special, values)


def matmul(
    config: ChipConfig,
    a: tuple[str, Codes],
    w: tuple[str, Codes, Codes | None],
    previous: NDArray[np.uint32] | None,
) -> NDArray[np.uint32]:
    """Sums as they lie in the accumulators.

    a: format, (M, K) codes; w: format, (K, N) codes, (ceil(K / B), N) scales or None;
    previous: (M, N) → (M, N)
    """
    if config.element == "int8":
        before = None if previous is None else previous.view(np.int32)
        product = numbers.matmul_int8(a[1].view(np.int8), w[1].view(np.int8), before)
        return product.view(np.uint32)
    before = None if previous is None else previous.view(np.float32)
    operands = formats.expand(*a), formats.expand(*w)
    return numbers.matmul_bf16(*operands, config.rows, before).view(np.uint32)
