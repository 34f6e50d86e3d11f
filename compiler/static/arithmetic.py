"""What the vector unit has no instruction for, made of those that it has.

Functions of a `Machine` and blocks, element by element. Exact where nothing is said, but for what
the chip does everywhere: subnormal numbers count as zeros.
"""

import math

import numpy as np

from compiler.static.machine import Block, Machine, Operand

INTEGERS = 2.0**23  # from here on, every fp32 number is an integer
_ALL_BYTES_ONE = float(np.uint32(0x01010101).view(np.float32))
_SPLITTER = 4097.0  # 2^12 + 1: parts of 12 bits, whose products are exact (Dekker 1971)
_SAFE = 2.0**-90  # products of parts of a larger number are not subnormal


def add(v: Machine, a: Operand, b: Operand) -> Block:
    a, b = _block_first(a, b)
    return v.binary("vadd", a, b)


def sub(v: Machine, a: Operand, b: Operand) -> Block:
    if isinstance(a, Block):
        return v.binary("vsub", a, b)
    return add(v, mul(v, b, -1.0), a)


def mul(v: Machine, a: Operand, b: Operand) -> Block:
    a, b = _block_first(a, b)
    return v.binary("vmul", a, b)


def maximum(v: Machine, a: Operand, b: Operand) -> Block:
    a, b = _block_first(a, b)
    return v.binary("vmax", a, b)


def minimum(v: Machine, a: Operand, b: Operand) -> Block:
    a, b = _block_first(a, b)
    return v.binary("vmin", a, b)


def _block_first(a: Operand, b: Operand) -> tuple[Block, Operand]:
    if isinstance(a, Block):
        return a, b
    assert isinstance(b, Block)
    return b, a


def block(v: Machine, a: Operand, like: Block) -> Block:
    """A number as a block."""
    if isinstance(a, Block):
        return a
    zeros = v.binary("vmul", v.unary("vmov", v.binary("vmul", like, 0.0), "i8"), 0.0)
    return add(v, zeros, a)


def clamp(v: Machine, a: Block, low: float, high: float) -> Block:
    return minimum(v, maximum(v, a, low), high)


def absolute(v: Machine, a: Block) -> Block:
    return v.unary("vabs", a)


def is_number(v: Machine, a: Block) -> Block:
    """0 for NaN, else 1: bytes know no NaN."""
    zero = mul(v, clamp(v, a, -1.0, 1.0), 0.0)
    return v.unary("vmov", v.binary("vadd", zero, 1.0, "i8"))


def sign(v: Machine, a: Block) -> Block:
    """-1, 0, 1; 0 for NaN. Bytes saturate."""
    return clamp(v, v.unary("vmov", v.binary("vmul", a, 2.0**127, "i8")), -1.0, 1.0)


def compare(v: Machine, a: Operand, b: Operand) -> Block:
    """Sign of a - b; 0 where one of them is NaN. A second difference sees what is subnormal in the
    first."""
    near = sign(v, sub(v, a, b))
    far = sign(v, sub(v, _scaled(v, a), _scaled(v, b)))
    return clamp(v, add(v, near, far), -1.0, 1.0)


def _scaled(v: Machine, a: Operand) -> Operand:
    if isinstance(a, Block):
        return mul(v, a, 2.0**64)
    with np.errstate(over="ignore"):
        return float(np.float32(a) * np.float32(2.0**64))


def greater(v: Machine, a: Operand, b: Operand) -> Block:
    return maximum(v, compare(v, a, b), 0.0)


def equal(v: Machine, a: Operand, b: Operand) -> Block:
    same = sub(v, 1.0, absolute(v, compare(v, a, b)))
    for each in (a, b):
        if isinstance(each, Block):
            same = mul(v, same, is_number(v, each))
        elif math.isnan(each):
            same = mul(v, same, 0.0)
    return same


def invert(v: Machine, a: Block) -> Block:
    """Not, of 0 and 1."""
    return sub(v, 1.0, a)


def select(v: Machine, condition: Block, a: Operand, b: Operand) -> Block:
    """a where the condition is 1, b where it is 0: byte by byte, so that NaNs and infinities stay
    where they are."""
    a, b = block(v, a, condition), block(v, b, condition)
    ones = v.as_bytes(mul(v, condition, _ALL_BYTES_ONE))
    keep = v.unary("vmov", ones, "bf16")
    drop = v.binary("vadd", v.binary("vmul", keep, -1.0, "bf16"), 1.0, "bf16")
    left = v.binary("vmul", v.as_bytes(a), keep, "i8")
    right = v.binary("vmul", v.as_bytes(b), drop, "bf16")
    return v.from_bytes(v.binary("vadd", left, right, "i8"), condition)


def round_even(v: Machine, a: Block) -> Block:
    """To the nearest integer, ties to even."""
    up = _round_positive(v, maximum(v, a, 0.0))
    down = _round_positive(v, maximum(v, mul(v, a, -1.0), 0.0))
    return sub(v, up, down)


def _round_positive(v: Machine, a: Block) -> Block:
    """Adding 2^23 and taking it away leaves no room for a fraction; what is beyond has none."""
    low = minimum(v, a, INTEGERS)
    rounded = sub(v, add(v, low, INTEGERS), INTEGERS)
    return add(v, rounded, sub(v, a, low))


def floor(v: Machine, a: Block) -> Block:
    rounded = round_even(v, a)
    return sub(v, rounded, greater(v, rounded, a))


def ceil(v: Machine, a: Block) -> Block:
    return mul(v, floor(v, mul(v, a, -1.0)), -1.0)


def truncate(v: Machine, a: Block) -> Block:
    """Towards zero."""
    up = floor(v, maximum(v, a, 0.0))
    return sub(v, up, floor(v, maximum(v, mul(v, a, -1.0), 0.0)))


def divide(v: Machine, a: Operand, b: Operand) -> Block:
    """a / b, rounded to nearest unless it lies within 2^-45 of itself from the middle between two
    numbers; quotients that are representable are exact. Of operands or results below 2^-90 the last
    bit may be wrong."""
    like = a if isinstance(a, Block) else b
    assert isinstance(like, Block)
    a, b = block(v, a, like), block(v, b, like)
    inverse = v.unary("vrecip", b)
    first = mul(v, a, inverse)
    rest = remainder(v, a, first, b)
    better = add(v, first, mul(v, rest, inverse))
    return _where_safe(v, better, first, (a, b, first))


def square_root(v: Machine, a: Block) -> Block:
    """Like `divide`."""
    inverse = v.unary("vrsqrt", a)
    first = v.unary("vrecip", inverse)
    rest = remainder(v, a, first, first)
    better = add(v, first, mul(v, mul(v, rest, inverse), 0.5))
    return _where_safe(v, better, first, (a, first))


def _where_safe(v: Machine, better: Block, first: Block, sizes: tuple[Block, ...]) -> Block:
    """``better``, unless it is NaN, or small numbers made it worse."""
    smallest = absolute(v, sizes[0])
    for each in sizes[1:]:
        smallest = minimum(v, smallest, absolute(v, each))
    safe = maximum(v, sign(v, sub(v, smallest, _SAFE)), 0.0)
    return select(v, mul(v, safe, is_number(v, better)), better, first)


def remainder(v: Machine, a: Block, q: Block, b: Block) -> Block:
    """a - q b, exactly, where q is near a / b."""
    q_high, q_low = _parts(v, q)
    b_high, b_low = _parts(v, b)
    product = mul(v, q, b)
    error = sub(v, mul(v, q_high, b_high), product)
    error = add(v, error, mul(v, q_high, b_low))
    error = add(v, error, mul(v, q_low, b_high))
    error = add(v, error, mul(v, q_low, b_low))
    return sub(v, sub(v, a, product), error)


def _parts(v: Machine, a: Block) -> tuple[Block, Block]:
    large = mul(v, a, _SPLITTER)
    high = sub(v, large, sub(v, large, a))
    return high, sub(v, a, high)


def integer_divide(v: Machine, a: Operand, b: Operand) -> Block:
    """Towards zero, of integers below 2^23."""
    return truncate(v, divide(v, a, b))


def wrap(v: Machine, a: Block, bits: int, signed: bool) -> Block:
    """The integer modulo 2^bits that an integer type of so many bits holds."""
    half = 2.0 ** (bits - 1) if signed else 0.0
    raised = add(v, a, half)
    turns = floor(v, mul(v, raised, 2.0**-bits))
    return sub(v, a, mul(v, turns, 2.0**bits))


def to_words(v: Machine, a: Block) -> Block:
    """Integers from 0 to 2^23 - 1 as 32-bit words: 2^23 + n holds n in its lower bits."""
    raised = v.as_bytes(add(v, a, INTEGERS))
    mask = np.tile([1.0, 1.0, 1.0, 0.0], raised.cols // 4)
    return v.from_bytes(v.binary("vmul", raised, v.pattern(mask), "i8"), a)


def from_words(v: Machine, a: Block) -> Block:
    """The reverse."""
    top = np.frombuffer(np.float32(INTEGERS).tobytes(), np.int8).astype(np.float32)
    words = v.as_bytes(a)
    raised = v.binary("vadd", words, v.pattern(np.tile(top, words.cols // 4)), "i8")
    return sub(v, v.from_bytes(raised, a), INTEGERS)
