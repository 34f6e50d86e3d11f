"""Products of matrices: the array multiplies bf16, fp32 is three bf16 numbers that add up to it."""

from collections.abc import Sequence

import numpy as np

from compiler.static.arithmetic import absolute
from compiler.static.machine import Array, Block, Machine
from compiler.static.node import Node
from compiler.static.state import State
from compiler.static.values import (
    INTEGER_BITS,
    LARGEST_EXACT,
    ONE_PART,
    Known,
    Value,
    is_integer,
    whole,
)
from compiler.virtual import Buffer, FieldValue
from isa.config import BF16_BYTES

_LARGEST = 3.3e38  # rounded to bf16 it is finite
PARTS = 3


def parts_of(elem_type: int) -> int:
    """bf16 numbers that hold one of this type."""
    return 1 if elem_type in ONE_PART else PARTS


def matmul(node: Node) -> list[Value]:
    """MatMul, of any ranks."""
    x, w = node.value(0), node.value(1)
    return [product(node.state, x, w, x.elem_type)]


def product(
    state: State, x: Value, w: Value, elem_type: int, bits: tuple[int, int] | None = None
) -> Value:
    """x @ w as NumPy has it; integers (of so many bits) are exact or refused when the program
    runs."""
    x_shape, w_shape = x.shape, w.shape
    if not x_shape or not w_shape:
        raise state.refuse("a matrix product of a number")
    x_full = x_shape if len(x_shape) > 1 else (1, *x_shape)
    w_full = w_shape if len(w_shape) > 1 else (*w_shape, 1)
    (m, k), (k_too, n) = x_full[-2:], w_full[-2:]
    if k != k_too:
        raise state.refuse(f"a matrix product of shapes {x_shape} and {w_shape}")
    batch = np.broadcast_shapes(x_full[:-2], w_full[:-2])
    shape = (*batch, *((m,) if len(x_shape) > 1 else ()), *((n,) if len(w_shape) > 1 else ()))
    if 0 in shape:
        return state.empty(shape, elem_type)
    if k == 0:
        empty = state.empty(shape, elem_type)
        return Known(np.zeros(shape, empty.array.dtype), elem_type)
    sizes = (m, k, n)
    starts = [
        np.broadcast_to(np.arange(int(np.prod(full[:-2]))).reshape(full[:-2]), batch).reshape(-1)
        for full in (x_full, w_full)
    ]
    arrays = state.array(x), state.array(w)
    parts = (1, 1) if bits == (8, 8) else (parts_of(x.elem_type), parts_of(w.elem_type))
    if is_integer(x.elem_type):
        bits = bits or (_bits(x), _bits(w))
        if k << sum(bits) > LARGEST_EXACT:
            _guard_integers(state, arrays, starts, sizes, parts)
    else:
        for value, array in zip((x, w), arrays, strict=True):
            if not isinstance(value, Known) or not np.isfinite(value.array).all():
                problem = "an operand of the product is infinite, not a number, or beyond 3.3e38"
                state.guard_array(array, _LARGEST, problem)
    made = multiply(state.machine, arrays, starts, sizes, parts)
    found = [v.origins for v in (x, w) if not isinstance(v, Known)]
    return whole(made, shape, elem_type, frozenset().union(*found))


def _bits(value: Value) -> int:
    return INTEGER_BITS.get(value.elem_type, (1, False))[0]


def _guard_integers(
    state: State,
    arrays: tuple[Array, Array],
    starts: Sequence[np.ndarray],
    sizes: tuple[int, int, int],
    parts: tuple[int, int],
) -> None:
    """Sums of magnitudes below 2^24 are exact in any order."""
    x, w = (state.elementwise(absolute, [array], array.size) for array in arrays)
    sums = multiply(state.machine, (x, w), starts, sizes, parts)
    state.guard_array(sums, LARGEST_EXACT, "the products' magnitudes add up to 2^24 or more")


def multiply(
    v: Machine,
    arrays: tuple[Array, Array],
    starts: Sequence[np.ndarray],
    sizes: tuple[int, int, int],
    parts: tuple[int, int] = (PARTS, PARTS),
) -> Array:
    """(M, K) × (K, N) for each pair of matrices ``starts`` of both arrays, block by block.

    The error is that of fp32, but for operands below 2^-110, whose last parts are subnormal: zero.
    """
    m, k, n = sizes
    config = v.config
    out = v.reserve("product", len(starts[0]) * m * n)
    m_step = min(m, 64, config.acc_rows // 4)
    k_step = min(k, max(config.rows, v.chunk // 64 // config.rows * config.rows))
    n_step = min(n, config.cols * max(1, config.acc_rows // 2 // m_step))
    n_step = min(n_step, max(config.cols, v.chunk // k_step // config.cols * config.cols))
    for number, (x, w) in enumerate(zip(*starts, strict=True)):
        for m0 in range(0, m, m_step):
            for n0 in range(0, n, n_step):
                rows, cols = min(m_step, m - m0), min(n_step, n - n0)
                acc, mode = v.builder.accumulators(), "overwrite"
                for k0 in range(0, k, k_step):
                    depth = min(k_step, k - k0)
                    left = v.load(arrays[0], (int(x) * m + m0) * k + k0, rows, depth, k)
                    right = v.load(arrays[1], (int(w) * k + k0) * n + n0, depth, cols, n)
                    pairs = _pairs(_split(v, left, parts[0]), _split(v, right, parts[1]))
                    for a, b in pairs:
                        _multiply(v, a, b, acc, mode)
                        mode = "accumulate"
                v.store(_drain(v, acc, rows, cols), out, (number * m + m0) * n + n0, n)
    return out


def _split(v: Machine, x: Block, parts: int) -> list[Block]:
    """bf16 numbers that add up to x: each is what the ones before left, rounded."""
    found = [v.unary("vmov", x, "bf16")]
    while len(found) < parts:
        x = v.binary("vsub", x, found[-1])
        found.append(v.unary("vmov", x, "bf16"))
    return found


def _pairs(left: list[Block], right: list[Block]) -> list[tuple[Block, Block]]:
    """Parts whose products count in fp32, the smallest first: those left out are below 2^-24 of the
    largest. (Of integers they are zero where the sum of magnitudes is below 2^24.)"""
    places = [(i, j) for i in range(len(left)) for j in range(len(right)) if i + j < PARTS]
    return [(left[i], right[j]) for i, j in sorted(places, key=sum, reverse=True)]


def _multiply(v: Machine, a: Block, w: Block, acc: Buffer, mode: str) -> None:
    fields: dict[str, FieldValue] = {
        "acc": acc.at(),
        "a": a.buffer.at(),
        "astride": a.stride,
        "w": w.buffer.at(),
        "wstride": w.stride,
        "wpanel": BF16_BYTES * v.config.cols,
        "m": a.rows,
        "k": a.cols,
        "n": w.cols,
        "mode": mode,
    }
    reads = (a.buffer.access(), w.buffer.access(), acc.access())
    v.emit("matmul", reads, (acc.access(),), fields=fields)


def _drain(v: Machine, acc: Buffer, rows: int, cols: int) -> Block:
    block = v.block(rows, cols)
    fields: dict[str, FieldValue] = {
        "dst": block.buffer.at(),
        "dstride": block.stride,
        "a": acc.at(),
        "astride": rows,
        "at": "acc",
        "rows": rows,
        "cols": cols,
    }
    v.emit("vmov", (acc.access(),), (block.buffer.access(),), fields=fields)
    return block
