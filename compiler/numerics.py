"""Constants and immediates of the lowering."""

import math
import struct

LOG2_E = 1 / math.log(2)
MINUS_INFINITY = 0xFF800000
# Adding so many units and taking them away rounds to whole ones, ties to even, what is less than
# 2^22 of them: their number has no bits for parts.
ROUNDING = 1.5 * 2.0**23
LARGEST_ROUNDED = 1 << 22


def float_bits(value: float) -> int:
    """The fp32 bit pattern nearest to ``value``, as an immediate."""
    return int(struct.unpack("<I", struct.pack("<f", value))[0])
