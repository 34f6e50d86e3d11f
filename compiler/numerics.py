"""Constants and immediates of the lowering."""

import math
import struct

LOG2_E = 1 / math.log(2)
MINUS_INFINITY = 0xFF800000


def float_bits(value: float) -> int:
    """The fp32 bit pattern nearest to ``value``, as an immediate."""
    return int(struct.unpack("<I", struct.pack("<f", value))[0])
