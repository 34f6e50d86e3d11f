"""What products of rounded activations shall be, in NumPy and ml_dtypes alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import ml_dtypes
import numpy as np

from compiler.graph import Constant, Graph, Op, Output, Scalar, Tensor

LARGEST = {"int8": 127.0, "fp8": 448.0}
F64 = np.ndarray
RECIPROCAL = 2.0**-22  # of 1 / scale (one unit in the last place) and its product: relative


def products(graph: Graph) -> list[Op]:
    """With weights."""
    return [op for op in graph.ops if op.kind.endswith("linear")]


def shown(graph: Graph) -> Graph:
    """The graph with operands and results of its products among the outputs: as x, index, y and the
    number of the product."""
    ops, outputs = list[Op](), list(graph.outputs)
    number = 0
    for op in graph.ops:
        ops.append(op)
        if op.kind.endswith("linear"):
            copy = replace(op.output, name=f"{op.output.name}.copy")  # of what lies in SRAM
            ops.append(Op("mul", (op.output, Scalar(1.0)), copy, op.sources))
            operands = [x for x in op.inputs if isinstance(x, Tensor)]
            for part, x in zip(("y", "x", "index"), (copy, *operands), strict=False):
                outputs.append(Output(f"{part}{number}", x, 1))
            number += 1
    return replace(graph, ops=tuple(ops), outputs=tuple(outputs))


def encoded(kind: str, x: F64) -> F64:
    """The values of the nearest codes, ties to even."""
    limit = LARGEST[kind]
    if kind == "int8":
        return np.clip(np.rint(x), -limit - 1, limit)
    clipped = np.clip(x, -limit, limit).astype(np.float32)
    return clipped.astype(ml_dtypes.float8_e4m3fn).astype(np.float64)


def column_codes(kind: str, weights: np.ndarray) -> tuple[F64, np.ndarray]:
    """Codes of weights (…, K, N), and each column's fp32 scale, (N,)."""
    axes = tuple(range(weights.ndim - 1))
    most = np.abs(weights).max(axis=axes).astype(np.float32) / np.float32(LARGEST[kind])
    scale = np.where(most > 0, most, np.float32(1)).astype(np.float32)
    return encoded(kind, (weights / scale).astype(np.float32).astype(np.float64)), scale


@dataclass
class Rounded:
    """Rows (n, K) as codes. ``clear``: rows of which none is so near to the middle between two
    codes that the last bits of a reciprocal decide."""

    codes: F64
    scale: np.ndarray  # (n, 1) fp32
    clear: np.ndarray


def rows_in_codes(kind: str, x: np.ndarray, static: np.float32 | None = None) -> Rounded:
    """fp32 rows, each with its own scale or all with one."""
    most = np.abs(x).max(axis=1, keepdims=True).astype(np.float32)
    scale = np.maximum(most * np.float32(1 / LARGEST[kind]), np.float32(2.0**-100))
    if static is not None:
        scale = np.full_like(scale, static)
    exact = x.astype(np.float64) / scale
    low, high = (encoded(kind, exact * (1 + sign * RECIPROCAL)) for sign in (-1, 1))
    return Rounded(low, scale, (low == high).all(axis=1))


def each_product(
    op: Op, weights: np.ndarray, found: dict[str, np.ndarray], number: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """x (n, K), weights (K, N) and y (n, N) that belong together: of experts, row by row."""
    x, y = (found[f"{part}{number}"][0] for part in "xy")
    first, groups = op.inputs[0], op.output.groups
    assert isinstance(first, Tensor)
    x, y = x.reshape(len(x), first.groups, -1), y.reshape(len(y), groups, -1)
    if op.kind == "linear":
        yield x.reshape(-1, x.shape[2]), weights, y.reshape(-1, y.shape[2])
        return
    for group in range(groups):
        rows = x[:, group if first.groups > 1 else 0]
        if op.kind == "each_linear":
            yield rows, weights[group], y[:, group]
            continue
        index = found[f"index{number}"][0].reshape(len(x), groups)[:, group].astype(int)
        for token, expert in enumerate(index):
            yield rows[token : token + 1], weights[expert], y[token : token + 1, group]


def check_products(
    graph: Graph, found: dict[str, np.ndarray], kind: str, static: Sequence[np.float32] = ()
) -> float:
    """All products of a run of the graph that `shown` gave; ``static``: the scale of each. int8 is
    the same bit by bit, fp8 within the roundings of its sum (K, and one for each tile of 4 rows at
    most) and of its factors. Returns the share of rows that are clear, the others are left out."""
    clear, rows = 0, 0
    for number, op in enumerate(products(graph)):
        name = next(x.name for x in op.inputs if isinstance(x, Constant))
        codes, columns = column_codes(kind, np.asarray(graph.constants[name], np.float32))
        for x, w, y in each_product(op, codes, found, number):
            assert np.isfinite(y).all()
            entered = rows_in_codes(kind, x, static[number] if static else None)
            total, first, second = entered.codes @ w, columns, entered.scale
            if static:
                first, second = columns * static[number], np.float32(1)
            found_rows, sums = y[entered.clear], total[entered.clear]
            second = np.broadcast_to(second, (len(y), 1))[entered.clear]
            clear, rows = clear + len(sums), rows + len(y)
            if kind == "int8":
                wanted = (sums.astype(np.float32) * first) * second
                np.testing.assert_array_equal(found_rows, wanted)
                continue
            factors = first.astype(np.float64) * second
            most = (np.abs(entered.codes[entered.clear]) @ np.abs(w)) * factors
            steps = len(w) + len(w) / 4 + 3
            error = np.abs(found_rows - sums * factors)
            assert (error <= steps * 2.0**-24 * most + 2.0**-126).all()
    return clear / rows
