"""Reductions, and what goes through the numbers of an axis one after another."""

from collections.abc import Callable
from functools import partial

import numpy as np
from onnx import TensorProto

from compiler.static import arithmetic as a, functions as f
from compiler.static.machine import MOST_ROWS, Array, Block, Machine
from compiler.static.node import Node
from compiler.static.state import State
from compiler.static.values import (
    LARGEST_EXACT,
    Data,
    Known,
    Value,
    is_integer,
    moved,
    type_name,
    whole,
)

Step = Callable[[Machine, Block], Block]


def _same(v: Machine, x: Block) -> Block:
    """Nothing to do before or after."""
    return x


def rows_of(node: Node, x: Value, axes: tuple[int, ...]) -> tuple[Array, int, int]:
    """The value with the axes behind the others: (array, rows, numbers of a row)."""
    kept = [i for i in range(len(x.shape)) if i not in axes]
    order = (*kept, *axes)
    turned = moved(x, lambda places: np.ascontiguousarray(places.transpose(order)))
    cols = int(np.prod([x.shape[i] for i in axes], dtype=np.int64))
    rows = int(np.prod([x.shape[i] for i in kept], dtype=np.int64))
    return node.state.array(turned), rows, cols


def reduce_rows(
    state: State,
    source: Array,
    rows: int,
    cols: int,
    mnemonic: str,
    before: Step = _same,
    after: Step = _same,
) -> Array:
    """``after`` of the sum (maximum, place of the maximum) of ``before`` of each row."""
    v = state.machine
    out = v.reserve("reduced", rows)
    stride = v.block_stride(cols)
    most = min(MOST_ROWS, 4 * v.chunk // (stride // 4))
    if most < 1:
        raise state.refuse(f"rows of {cols} numbers, more than the SRAM holds")
    for first in range(0, rows, most):
        count = min(most, rows - first)
        block = before(v, v.load(source, first * cols, count, cols, cols))
        v.store(after(v, v.reduce(mnemonic, block)), out, first, 1)
    return out


def _scaled(v: Machine, x: Block, factor: float) -> Block:
    return a.mul(v, x, factor)


def _finite(v: Machine, x: Block) -> Block:
    return a.clamp(v, x, -1e38, 1e38)


def _square(v: Machine, x: Block) -> Block:
    return a.mul(v, x, x)


def _negative(v: Machine, x: Block) -> Block:
    return a.mul(v, x, -1.0)


# Operator: instruction, what is reduced, what is made of it.
_KINDS: dict[str, tuple[str, Step, Step]] = {
    "ReduceSum": ("vsum", _same, _same),
    "ReduceMean": ("vsum", _same, _same),
    "ReduceMax": ("vrmax", _same, _same),
    "ReduceMin": ("vrmax", _negative, _negative),
    "ReduceL1": ("vsum", a.absolute, _same),
    "ReduceL2": ("vsum", _square, a.square_root),
    "ReduceSumSquare": ("vsum", _square, _same),
    "ReduceLogSum": ("vsum", _same, f.log),
}
# Of no numbers at all.
_NEUTRAL = {"ReduceMax": -np.inf, "ReduceMin": np.inf, "ReduceProd": 1, "ReduceLogSum": -np.inf}
_NEUTRAL["ReduceLogSumExp"] = -np.inf


def _axes(node: Node) -> tuple[int, ...] | None:
    """None: nothing is reduced."""
    rank = len(node.value(0).shape)
    axes = node.attribute("axes")
    if axes is None:
        axes = node.known(1, "the axes")
    if axes is None or len(axes) == 0:
        return None if node.attribute("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted(int(axis) % rank for axis in axes))


def reduction(node: Node) -> list[Value]:
    """ReduceSum and its like."""
    x, state, kind = node.value(0), node.state, node.value(0).elem_type
    axes = _axes(node)
    if axes is None:
        return [_single(node, x)]
    keep = node.attribute("keepdims", 1)
    shape = tuple(1 if i in axes else n for i, n in enumerate(x.shape) if keep or i not in axes)
    if 0 in shape:
        return [state.empty(shape, kind)]
    if 0 in x.shape:
        return [_of_nothing(node, shape)]
    source, rows, cols = rows_of(node, x, axes)
    if node.op_type == "ReduceProd":
        made = _product(node, x, axes, rows, cols)
    elif node.op_type == "ReduceLogSumExp":
        made = _log_sum_exp(state, source, rows, cols)
    else:
        made = _reduced(node, source, rows, cols)
    return [whole(made, shape, kind, node.origins())]


def _reduced(node: Node, source: Array, rows: int, cols: int) -> Array:
    kind, state = node.value(0).elem_type, node.state
    mnemonic, before, after = _KINDS[node.op_type]
    if is_integer(kind) and mnemonic == "vsum":
        if node.op_type not in ("ReduceSum", "ReduceL1", "ReduceSumSquare"):
            raise state.refuse(f"numbers of type {type_name(kind)}")

        def absolute(v: Machine, x: Block) -> Block:
            return a.absolute(v, before(v, x))

        sizes = reduce_rows(state, source, rows, cols, mnemonic, absolute)
        state.guard_array(sizes, LARGEST_EXACT, "magnitudes add up to 2^24 or more")
    if node.op_type == "ReduceMean":
        after = partial(_scaled, factor=1.0 / cols)
    return reduce_rows(state, source, rows, cols, mnemonic, before, after)


def _single(node: Node, x: Value) -> Value:
    """No axes, no reduction: each number by itself."""
    if node.op_type in ("ReduceL1", "ReduceL2"):
        return node.state.apply(a.absolute, [x], x.elem_type)
    if node.op_type == "ReduceSumSquare":
        return node.state.apply(_square, [x], x.elem_type)
    if node.op_type == "ReduceLogSum":
        return node.state.apply(f.log, [x], x.elem_type)
    return x


def _of_nothing(node: Node, shape: tuple[int, ...]) -> Known:
    kind = node.value(0).elem_type
    if is_integer(kind) and node.op_type in ("ReduceMax", "ReduceMin"):
        raise node.state.refuse("the maximum of no integers")
    if node.op_type == "ReduceMean":
        value: float = np.nan
    else:
        value = _NEUTRAL.get(node.op_type, 0)
    empty = node.state.empty(shape, kind)
    return Known(np.full(shape, value).astype(empty.array.dtype), kind)


def _log_sum_exp(state: State, source: Array, rows: int, cols: int) -> Array:
    """m + log of the sum of e^(x - m), m being the maximum."""
    v = state.machine
    top = reduce_rows(state, source, rows, cols, "vrmax")
    level = state.elementwise(_finite, [top], rows)
    sums = v.reserve("sums", rows)
    most = max(1, 4 * v.chunk // (v.block_stride(cols) // 4))
    for first in range(0, rows, most):
        count = min(most, rows - first)
        block = v.load(source, first * cols, count, cols, cols)
        column = _column(v, level, first, count)
        powers = f.exp(v, v.binary("vsub", block, column))
        v.store(v.reduce("vsum", powers), sums, first, 1)
    return state.elementwise(lambda v, m, s: a.add(v, m, f.log(v, s)), [level, sums], rows)


def _column(v: Machine, source: Array, first: int, count: int) -> Block:
    """Numbers of an array, one in lane 0 of each row."""
    block = v.load(source, first, count, 1, 1)
    return Block(block.buffer, count, 1, block.stride, column=True)


def _product(node: Node, x: Value, axes: tuple[int, ...], rows: int, cols: int) -> Array:
    """Halves are multiplied by each other until one number of each row is left."""
    state, v = node.state, node.state.machine
    kept = [i for i in range(len(x.shape)) if i not in axes]
    order = (*axes, *kept)
    assert isinstance(x, Data)
    current = state.array(Data(x.roots, x.index.transpose(order), x.elem_type, x.origins))
    if is_integer(x.elem_type):
        raise state.refuse("products of integers along an axis")
    while cols > 1:
        half, odd = cols // 2, cols % 2
        out = v.reserve("products", (half + odd) * rows)
        for first in range(0, half * rows, v.chunk):
            count = min(v.chunk, half * rows - first)
            left = v.load(current, first, 1, count, count)
            right = v.load(current, half * rows + first, 1, count, count)
            v.store(a.mul(v, left, right), out, first, count)
        for first in range(0, odd * rows, v.chunk):
            count = min(v.chunk, rows - first)
            last = v.load(current, 2 * half * rows + first, 1, count, count)
            v.store(last, out, half * rows + first, count)
        current, cols = out, half + odd
    return current


def argument(node: Node) -> list[Value]:
    """ArgMax, ArgMin: the first, or the last one."""
    x, state = node.value(0), node.state
    node.refuse_double()
    axis = int(node.attribute("axis", 0)) % max(1, len(x.shape))
    last = bool(node.attribute("select_last_index", 0))
    assert isinstance(x, Data)
    index = np.flip(x.index, axis) if last else x.index
    source, rows, cols = rows_of(node, Data(x.roots, index, x.elem_type, x.origins), (axis,))
    before = _negative if node.op_type == "ArgMin" else _same

    def after(v: Machine, word: Block) -> Block:
        place = a.from_words(v, word)
        return a.sub(v, float(cols - 1), place) if last else place

    made = reduce_rows(state, source, rows, cols, "vargmax", before, after)
    kept = [1 if i == axis else n for i, n in enumerate(x.shape)]
    if not node.attribute("keepdims", 1):
        del kept[axis]
    return [whole(made, tuple(kept), TensorProto.INT64, node.origins())]


def cumulative(node: Node) -> list[Value]:
    """CumSum, CumProd: one step of the axis after another, all its rows at once."""
    x, state, v = node.value(0), node.state, node.state.machine
    found = node.known(1, "the axis")
    assert found is not None
    assert isinstance(x, Data)
    axis = int(found.reshape(())) % len(x.shape)
    index = np.flip(x.index, axis) if node.attribute("reverse", 0) else x.index
    source = state.array(Data(x.roots, np.moveaxis(index, axis, 0), x.elem_type, x.origins))
    steps = x.shape[axis]
    width, exclusive = source.size // max(1, steps), bool(node.attribute("exclusive", 0))
    out = v.reserve("sums", source.size)
    join, neutral = (a.add, 0.0) if node.op_type == "CumSum" else (a.mul, 1.0)
    for first in range(0, width, v.chunk):
        count = min(v.chunk, width - first)
        total = None
        for step in range(steps):
            place = max(0, step - exclusive) * width + first
            term = v.load(source, place, 1, count, count)
            if step < exclusive:
                total = a.block(v, neutral, term)
            else:
                total = term if total is None else join(v, total, term)
            if is_integer(x.elem_type):
                state.guard_exact(total, x.elem_type)
            v.store(total, out, step * width + first, count)
    turned = (steps, *(n for i, n in enumerate(x.shape) if i != axis))
    made = whole(out, turned, x.elem_type, node.origins())
    back = np.moveaxis(made.index, 0, axis)
    back = np.flip(back, axis) if node.attribute("reverse", 0) else back
    return [Data(made.roots, back, x.elem_type, node.origins())]
