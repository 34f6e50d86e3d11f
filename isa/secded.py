"""SECDED: 8 check bits that correct one wrong bit of 72 and find two, for each 64-bit word.

The code is Hsiao's (M. Y. Hsiao, "A Class of Optimal Minimum Odd-weight-column SEC-DED Codes",
1970): every data bit is in an odd number of checks, each in others, so that the syndrome of two
errors has an even weight and is that of no single one.
"""

from itertools import combinations

WORD_BITS, CHECK_BITS = 64, 8
WORD_BYTES = WORD_BITS // 8


def _columns() -> tuple[int, ...]:
    """All 56 numbers with three bits set, then the first 8 with five."""
    found = [
        sum(1 << bit for bit in bits)
        for weight in (3, 5)
        for bits in combinations(range(8), weight)
    ]
    return tuple(found[:WORD_BITS])


COLUMNS = _columns()
"""The checks that each data bit is in, as a number of 8 bits: the syndrome when it is wrong."""


def masks() -> tuple[int, ...]:
    """For each check bit, the data bits whose parity it is."""
    return tuple(
        sum(1 << bit for bit, column in enumerate(COLUMNS) if column >> check & 1)
        for check in range(CHECK_BITS)
    )
