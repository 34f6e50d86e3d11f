"""Lowering of `arrange`: features in another order.

Where all runs of features begin at vectors, and rows have no gaps, copies move them. Else the array
multiplies with a matrix of zeros and ±1: fp32 numbers go in as sums of three bf16 numbers, so that
finite ones come out as they were, bit for bit.
"""

from functools import partial

import numpy as np

from compiler.graph import Op, Tensor
from compiler.lower_activations import entering, pieces_of
from compiler.lower_linear import Term, multiply
from compiler.lowering import Lowering, Rows, Vectors
from compiler.matrix_source import Matrix
from compiler.numerics import float_bits
from compiler.virtual import FieldValue
from isa.config import BF16_BYTES, F32_BYTES

Run = tuple[int, int, int, int, int]  # source, its first feature, first feature, count, sign


def lower_arrange(low: Lowering, op: Op) -> None:
    """Copies of runs, or a product."""
    runs, lanes = _runs(op), low.config.lanes
    tensors = [x for x in (*op.inputs, op.output) if isinstance(x, Tensor)]
    evenly = all(low.place(x).layout.row_bytes(x.groups, x.width) for x in tensors)
    if evenly and all(first % lanes == 0 == place % lanes for _, first, place, _, _ in runs):
        for run in runs:
            _copy(low, op, run)
        return
    terms = []
    for index, x in enumerate(op.inputs):
        assert isinstance(x, Tensor)
        matrix = _matrix(op, index, x.width)
        if matrix.any():
            parts = tuple(entering(low, op, part, x.groups) for part in _thirds(low, op, x))
            name, shape = f"{op.output.name}.order{index}", (x.width, op.output.width)
            terms.append(Term(Matrix(name, shape, partial(_same, matrix)), parts))
    multiply(low, op, terms, op.output.groups)


def _runs(op: Op) -> list[Run]:
    """Features that stay behind each other."""
    runs: list[Run] = []
    attributes = (op.attributes[name] for name in ("source", "position", "signs"))
    for place, (source, position, sign) in enumerate(zip(*attributes, strict=True)):
        if runs:
            last, first, start, count, same = runs[-1]
            if (source, position, sign) == (last, first + count, same):
                runs[-1] = (last, first, start, count + 1, same)
                continue
        runs.append((source, position, place, 1, sign))
    return runs


def _copy(low: Lowering, op: Op, run: Run) -> None:
    source, first, place, count, sign = run
    x = op.inputs[source]
    assert isinstance(x, Tensor)
    rows, out = low.rows_of(op, x, x.groups, x.width), op.output
    target = low.rows_of(op, out, out.groups, out.width)
    fields: dict[str, FieldValue] = {
        "a": low.place(x).buffer.at(F32_BYTES * first),
        "dst": low.place(out).buffer.at(F32_BYTES * place),
    }
    if sign < 0:
        fields |= {"b": float_bits(-1.0), "bt": "scalar"}
    part = Rows(rows.multiple, count, rows.stride)
    low.vector("vmul" if sign < 0 else "vmov", (out, target), (x, part), fields=fields)


def _matrix(op: Op, index: int, width: int) -> np.ndarray:
    """(width, output width) of what the output takes from that input."""
    matrix = np.zeros((width, op.output.width), np.float32)
    attributes = (op.attributes[name] for name in ("source", "position", "signs"))
    for place, (source, position, sign) in enumerate(zip(*attributes, strict=True)):
        if source == index:
            matrix[position, place] = sign
    return matrix


def _same(matrix: np.ndarray, layer: int) -> np.ndarray:
    """That of every layer."""
    return matrix


def _thirds(low: Lowering, op: Op, x: Tensor) -> list[Tensor]:
    """x, x - bf16(x), and what is left once more: bf16 of each, added up, is x."""
    found, layout, groups = [x], low.layouts[x.name], x.groups
    stride = layout.row_bytes(groups, x.width) or layout.token_bytes
    for order in ("second", "third"):
        rest = Tensor(f"{x.name}.{order}", groups, x.width)
        if rest.name not in low.tensors:
            low.layouts[rest.name] = layout
            rounded = entering(low, op, found[-1], groups)
            out, whole = low.place(rest).buffer, low.place(found[-1]).buffer
            for source, target, count in pieces_of(low, op, x, groups):
                place = F32_BYTES * source
                part = Vectors(rounded.buffer, BF16_BYTES * target, rounded.stride, "bf16")
                a = Vectors(whole, place, stride)
                low.by_rows("vsub", Vectors(out, place, stride), a, count, part, groups)
        found.append(rest)
    return found
