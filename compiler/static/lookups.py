"""Gather and its like, where the program computes the indices; OneHot and TopK."""

import math
from collections.abc import Sequence

import numpy as np
from onnx import TensorProto

from compiler.static import arithmetic as a
from compiler.static.machine import Array, Block, Machine, Operand
from compiler.static.move import divisor, lookup
from compiler.static.node import Node
from compiler.static.reduce import reduce_rows
from compiler.static.state import State
from compiler.static.values import Data, Known, Value, moved, whole

_MOST_NUMBERS = 1 << 23  # `arithmetic.to_words`
_LARGEST_SORT = 1 << 22  # comparisons


def _normal(state: State, indices: Value, size: int) -> Value:
    """Indices from -size to size - 1 as 0 … size - 1; others are noted, and clamped."""

    def body(v: Machine, x: Block) -> Block:
        x = a.add(v, x, a.mul(v, a.greater(v, 0.0, x), float(size)))
        middle = (size - 1) / 2
        state.guard(a.sub(v, x, middle), middle, f"an index is outside of -{size} … {size - 1}")
        return a.clamp(v, x, 0.0, float(size - 1))

    return state.apply(body, [indices], indices.elem_type)


def _flat(state: State, terms: Sequence[tuple[Value, int, int]], start: np.ndarray) -> Value:
    """Sum of index · stride, for (index, size of its axis, stride), and of ``start``."""

    def body(v: Machine, first: Operand, *rest: Operand) -> Block:
        total = first
        for x, (_, _, stride) in zip(rest, terms, strict=True):
            total = a.add(v, a.mul(v, x, float(stride)), total)
        assert isinstance(total, Block)
        return total

    normal = [_normal(state, index, size) for index, size, _ in terms]
    shape = np.broadcast_shapes(start.shape, *(value.shape for value in normal))
    begin = Known(start.astype(np.int64), TensorProto.INT64)
    return state.apply(body, [begin, *normal], TensorProto.INT64, shape)


def _looked_up(node: Node, numbers: Value, unit: int, shape: tuple[int, ...]) -> list[Value]:
    """Units of input 0."""
    state, data = node.state, node.value(0)
    if 0 in shape:
        return [state.empty(shape, data.elem_type)]
    part = divisor(unit, state.machine.chunk)
    pieces = unit // part
    if math.prod(data.shape) // part >= _MOST_NUMBERS:
        raise state.refuse(f"a table of {math.prod(data.shape) // part} rows to choose from")
    if pieces > 1:
        spread_out = (
            Data(numbers.roots, numbers.index.reshape(-1, 1), numbers.elem_type, numbers.origins)
            if isinstance(numbers, Data)
            else None
        )
        assert spread_out is not None
        numbers = _scaled(state, spread_out, pieces)
    table = state.array(data)
    made = lookup(state.machine, table, state.array(numbers), part, "chosen")
    return [whole(made, shape, data.elem_type, node.origins())]


def _scaled(state: State, numbers: Value, pieces: int) -> Value:
    """Rows of ``pieces`` units each."""
    steps = Known(np.arange(pieces, dtype=np.int64)[None], TensorProto.INT64)

    def body(v: Machine, x: Operand, y: Operand) -> Block:
        return a.add(v, a.mul(v, x, float(pieces)), y)

    return state.apply(body, [numbers, steps], TensorProto.INT64)


def gather(node: Node) -> list[Value]:
    """Gather: rows of one axis."""
    data, indices = node.value(0), node.value(1)
    axis = int(node.attribute("axis", 0)) % len(data.shape)
    before, size, after = data.shape[:axis], data.shape[axis], data.shape[axis + 1 :]
    rows = np.arange(math.prod(before)).reshape(-1, *(1 for _ in indices.shape)) * size
    numbers = _flat(node.state, [(indices, size, 1)], rows)
    return _looked_up(node, numbers, math.prod(after), (*before, *indices.shape, *after))


def gather_elements(node: Node) -> list[Value]:
    """GatherElements: along one axis, each number by its own index."""
    data, indices = node.value(0), node.value(1)
    axis = int(node.attribute("axis", 0)) % len(data.shape)
    strides = [math.prod(data.shape[i + 1 :]) for i in range(len(data.shape))]
    start = np.zeros(indices.shape, np.int64)
    for i, grid in enumerate(np.indices(indices.shape)):
        if i != axis:
            start += grid * strides[i]
    numbers = _flat(node.state, [(indices, data.shape[axis], strides[axis])], start)
    return _looked_up(node, numbers, 1, indices.shape)


def gather_nd(node: Node) -> list[Value]:
    """GatherND: slices by several indices at a time."""
    data, indices = node.value(0), node.value(1)
    batch = int(node.attribute("batch_dims", 0))
    depth = indices.shape[-1]
    unit = math.prod(data.shape[batch + depth :])
    inside = math.prod(data.shape[batch : batch + depth])
    shape = indices.shape[:-1]
    start = np.arange(math.prod(data.shape[:batch])) * inside
    start = start.reshape(*data.shape[:batch], *(1 for _ in shape[batch:]))
    assert isinstance(indices, Data)
    terms = []
    for i in range(depth):
        part = Data(indices.roots, indices.index[..., i], indices.elem_type, indices.origins)
        stride = math.prod(data.shape[batch + i + 1 : batch + depth])
        terms.append((part, data.shape[batch + i], stride))
    numbers = _flat(node.state, terms, start)
    return _looked_up(node, numbers, unit, (*shape, *data.shape[batch + depth :]))


def one_hot(node: Node) -> list[Value]:
    """OneHot: indices outside of -depth … depth - 1 choose nothing."""
    state, indices, values = node.state, node.value(0), node.value(2)
    node.refuse_double()
    found = node.known(1, "the depth")
    assert found is not None
    depth = int(found.reshape(()))
    rank = len(indices.shape) + 1
    axis = int(node.attribute("axis", -1)) % rank
    places = np.arange(depth).reshape(*(depth if i == axis else 1 for i in range(rank)))
    assert isinstance(indices, Data)
    opened = np.expand_dims(indices.index, axis)
    which = Data(indices.roots, opened, indices.elem_type, indices.origins)
    shape = (*indices.shape[:axis], depth, *indices.shape[axis:])

    def body(v: Machine, place: Operand, x: Operand, off: Operand, on: Operand) -> Block:
        assert isinstance(x, Block)
        x = a.add(v, x, a.mul(v, a.greater(v, 0.0, x), float(depth)))
        return a.select(v, a.equal(v, place, x), on, off)

    pair = [_element(values, i) for i in range(2)]
    grid = Known(places.astype(np.int64), TensorProto.INT64)
    grid = Known(np.broadcast_to(grid.array, shape), TensorProto.INT64)
    return [state.apply(body, [grid, which, *pair], values.elem_type, shape)]


def _element(value: Value, i: int) -> Value:
    return moved(value, lambda x: x[i : i + 1].reshape(()))


def top_k(node: Node) -> list[Value]:
    """TopK: each number's rank is the count of those before it; all pairs are compared. Equal
    numbers keep their order."""
    state, x = node.state, node.value(0)
    node.refuse_double()
    found = node.known(1, "k")
    assert found is not None
    assert isinstance(x, Data)
    k, axis = int(found.reshape(-1)[0]), int(node.attribute("axis", -1)) % len(x.shape)
    moved = np.moveaxis(x.index, axis, -1)
    rows, cols = math.prod(moved.shape[:-1]), x.shape[axis]
    if rows * cols * cols > _LARGEST_SORT:
        raise state.refuse(f"sorting {rows} rows of {cols} numbers")
    flat = moved.reshape(rows, cols)
    source = state.array(Data(x.roots, flat, x.elem_type, x.origins))
    state.guard_array(source, 3.5e38, "a number to be sorted is infinite or not a number")
    rank = _ranks(node, source, rows, cols)
    wanted = np.broadcast_to(np.arange(k)[None, :, None], (rows, k, cols))
    places = np.broadcast_to(np.arange(cols), (rows, k, cols))
    chosen = _rows_of_three(state, rank, wanted, places)
    table = whole(source, (rows * cols,), x.elem_type, x.origins)
    start = np.arange(rows)[:, None] * cols
    inner = whole(chosen, (rows, k), TensorProto.INT64, x.origins)
    numbers = state.array(_flat(state, [(inner, cols, 1)], start))
    made = lookup(state.machine, state.array(table), numbers, 1, "largest")
    shape = (*moved.shape[:-1], k)
    results = []
    for array, kind in ((made, x.elem_type), (chosen, TensorProto.INT64)):
        value = whole(array, shape, kind, node.origins())
        results.append(Data(value.roots, np.moveaxis(value.index, -1, axis), kind, x.origins))
    return list(results)


def _ranks(node: Node, source: Array, rows: int, cols: int) -> Array:
    """How many numbers of its row stand before each number: (rows, cols)."""
    state, largest = node.state, bool(node.attribute("largest", 1))
    index = np.arange(1, rows * cols + 1).reshape(rows, cols)
    shape = (rows, cols, cols)
    mine, other = (np.broadcast_to(each, shape) for each in (index[:, :, None], index[:, None, :]))
    earlier = np.broadcast_to(np.tri(cols, k=-1), shape)

    def body(v: Machine, x: Operand, y: Operand, tie: Operand) -> Block:
        before = a.greater(v, y, x) if largest else a.greater(v, x, y)
        return a.add(v, before, a.mul(v, a.equal(v, x, y), tie))

    kind = node.value(0).elem_type
    pair = [Data((source,), each, kind, frozenset()) for each in (mine, other)]
    first = Known(earlier.astype(np.float32), TensorProto.FLOAT)
    counted = state.array(state.apply(body, [*pair, first], TensorProto.FLOAT, shape))
    return reduce_rows(state, counted, rows * cols, cols, "vsum")


def _rows_of_three(state: State, rank: Array, wanted: np.ndarray, places: np.ndarray) -> Array:
    """The place whose rank is wanted: (rows, k)."""
    rows, k, cols = wanted.shape
    index = np.arange(1, rank.size + 1).reshape(rows, 1, cols)
    ranks = Data((rank,), np.broadcast_to(index, wanted.shape), TensorProto.FLOAT, frozenset())

    def body(v: Machine, r: Operand, want: Operand, place: Operand) -> Block:
        return a.mul(v, a.equal(v, r, want), place)

    known = [Known(each.astype(np.float32), TensorProto.FLOAT) for each in (wanted, places)]
    hits = state.array(state.apply(body, [ranks, *known], TensorProto.FLOAT, wanted.shape))
    return reduce_rows(state, hits, rows * k, cols, "vsum")
