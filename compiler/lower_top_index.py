"""Lowering of choices: the k largest features, their indices as rows of zeros and a one.

k times: the first of the largest features is found, its index becomes a number, and the feature is
pushed below all others. The indices go to HBM too, where the sequencer reads them.
"""

from dataclasses import replace
from functools import partial

import numpy as np

from compiler import builder as b
from compiler.builder import round_up
from compiler.graph import Constant, Op, Tensor
from compiler.lower_activations import entering
from compiler.lower_linear import Term, multiply
from compiler.lowering import Lowering, Vectors
from compiler.matrix_source import Matrix
from compiler.virtual import FieldValue
from isa.config import HBM_ATOM_BYTES
from isa.iomap import WORD_BYTES
from isa.numbers import from_bf16, to_bf16

BELOW = -(2.0**127)  # is added to what has been chosen
SIGNED_BYTE = 128


def lower_top_index(low: Lowering, op: Op) -> None:
    """Indices of the k largest features, the largest first, of equals the first first; or that of
    the largest of each of k inputs."""
    rows, width = [low.by_token(op, x)[0] for x in _tensors(op)], _tensors(op)[0].width
    build, stride = low.builder, rows[0].stride
    pitch = round_up(low.config.f32_vector_bytes, low.config.line_bytes)
    bits = Vectors(build.sram("index", build.chunk * pitch), 0, pitch)
    if single := len(rows) == 1:
        left = Vectors(build.sram("not chosen", build.chunk * stride), 0, stride)
        low.by_rows("vmov", left, rows[0], width)
        rows = [left] * op.output.groups
    for place, (row, target) in enumerate(zip(rows, low.by_token(op, op.output), strict=True)):
        low.by_rows("vargmax", bits, row, width)
        _as_number(low, target, bits, width)
        _store(low, op, bits, place)
        if single and place < op.output.groups - 1:
            _push_down(low, row, row, target, width)


def lower_drop_max(low: Lowering, op: Op) -> None:
    """The first of the largest features of each group, pushed below all others."""
    (x,) = _tensors(op)
    build, vector = low.builder, low.config.f32_vector_bytes
    pitch = round_up(vector, low.config.line_bytes)
    bits = Vectors(build.sram("index", build.chunk * x.groups * pitch), 0, pitch)
    index = Vectors(build.sram("largest", build.chunk * x.groups * vector), 0, vector)
    rows, out = low.all_rows(op, x), low.all_rows(op, op.output)
    low.by_rows("vargmax", bits, rows, x.width, None, x.groups)
    _as_number(low, index, bits, x.width, x.groups)
    _push_down(low, out, rows, index, x.width, x.groups)


def _tensors(op: Op) -> list[Tensor]:
    return [x for x in op.inputs if isinstance(x, Tensor)]


def _push_down(
    low: Lowering, out: Vectors, x: Vectors, index: Vectors, width: int, multiple: int = 1
) -> None:
    """Rows of x, the feature at the index far below all others."""
    size = low.builder.chunk * multiple * out.stride
    other = Vectors(low.builder.sram("others", size), 0, out.stride)
    _distance(low, other, index, width, multiple)
    low.by_rows("vmin", other, other, width, 1.0, multiple)
    low.by_rows("vsub", other, other, width, 1.0, multiple)
    low.by_rows("vmul", other, other, width, -BELOW, multiple)
    low.by_rows("vadd", out, x, width, other, multiple)


def _store(low: Lowering, op: Op, bits: Vectors, place: int) -> None:
    """One index of each token, an atom for each, where weights are fetched by them."""
    users = (other for other in low.graph.ops if other.kind == "chosen_linear")
    if not any(op.output in other.inputs for other in users):
        return
    build, count = low.builder, op.output.groups
    if op.output.name not in low.chosen:
        size = build.chunk * count * HBM_ATOM_BYTES
        low.chosen[op.output.name] = build.hbm.reserve(f"chosen by {op.output.name}", size)
    target = low.chosen[op.output.name]
    fields: dict[str, FieldValue] = {
        "hbm": target.at(place * HBM_ATOM_BYTES, HBM_ATOM_BYTES),
        "hstride": count,
        "sram": bits.buffer.at(),
        "sstride": bits.stride,
        "rows": b.M,
        "bytes": WORD_BYTES,
    }
    build.emit("store", (bits.buffer.access(),), (target.access(),), fields=fields)


def _as_number(low: Lowering, out: Vectors, bits: Vectors, count: int, multiple: int = 1) -> None:
    """An integer below ``count`` in lane 0 as fp32: from its bytes, which are read as signed."""
    signed = Vectors(bits.buffer, bits.offset, bits.stride, "i8")
    if count <= SIGNED_BYTE:
        low.by_rows("vmov", out, signed, 1, None, multiple)
        return
    build, vector = low.builder, low.config.f32_vector_bytes
    size = build.chunk * multiple * vector
    number = Vectors(build.sram("bytes", size), 0, vector)
    below = Vectors(build.sram("negative", size), 0, vector)
    low.by_rows("vmov", number, signed, 2, None, multiple)
    low.by_rows("vmul", below, number, 2, -1.0, multiple)
    low.by_rows("vmax", below, below, 2, 0.0, multiple)
    low.by_rows("vmin", below, below, 2, 1.0, multiple)
    low.by_rows("vmul", below, below, 2, 256.0, multiple)
    low.by_rows("vadd", number, number, 2, below, multiple)
    weights = low.constant_row("weights of bytes", np.array([1, 256], np.float32))
    low.by_rows("vmul", number, number, 2, Vectors(weights, 0, 0), multiple)
    low.by_rows("vsum", out, number, 2, None, multiple)


def _distance(low: Lowering, out: Vectors, index: Vectors, count: int, multiple: int = 1) -> None:
    """|i - index| for i < count, rows of each."""
    numbers = low.constant_row(f"numbers to {count}", np.arange(count, dtype=np.float32))
    column = replace(index, kind="col")
    low.by_rows("vsub", out, Vectors(numbers, 0, 0), count, column, multiple)
    low.by_rows("vabs", out, out, count, None, multiple)


def is_zero(low: Lowering, x: Vectors, cols: int, multiple: int) -> None:
    """In place: 1 for 0, +0 for 1, 2, …"""
    low.by_rows("vmul", x, x, cols, -1.0, multiple)
    low.by_rows("vadd", x, x, cols, 1.0, multiple)
    low.by_rows("vmax", x, x, cols, 0.0, multiple)


def lower_one_hot(low: Lowering, op: Op) -> None:
    """1 at each index, else +0."""
    (index,), out = op.inputs, op.output
    assert isinstance(index, Tensor)
    rows = low.all_rows(op, out)
    _distance(low, rows, low.all_rows(op, index), out.width, out.groups)
    is_zero(low, rows, out.width, out.groups)


def lower_lookup(low: Lowering, op: Op) -> None:
    """Rows of a constant: ones and zeros times three bf16 numbers that add up to each."""
    hot, name = op.inputs
    assert isinstance(hot, Tensor)
    assert isinstance(name, Constant)
    table = np.asarray(low.graph.constants[name.name], np.float32)
    if not np.isfinite(table).all():
        raise low.refuse(op, f"values that are not finite in {name.name}")
    rows, terms = entering(low, op, hot, hot.groups), []
    for number in range(3):
        make = partial(_third, table, number)
        terms.append(Term(Matrix(f"{name.name}.part{number}", table.shape, make), (rows,)))
    multiply(low, replace(op, inputs=(hot,) * len(terms)), terms, hot.groups)


def _third(table: np.ndarray, number: int, layer: int) -> np.ndarray:
    """One of three bf16 numbers that add up to each."""
    part = from_bf16(to_bf16(table))
    for _ in range(number):
        table = table - part
        part = from_bf16(to_bf16(table))
    return part


def lower_sum_groups(low: Lowering, op: Op) -> None:
    """The groups of each token, added in order."""
    (x,) = op.inputs
    assert isinstance(x, Tensor)
    first, *others = low.by_token(op, x)
    (out,) = low.by_token(op, op.output)
    if not others:
        low.by_rows("vmov", out, first, x.width)
    for other in others:
        low.by_rows("vadd", out, first, x.width, other)
        first = out
