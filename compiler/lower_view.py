"""Lowering of views: nothing moves, unless rows are cut into single numbers or joined of them."""

import numpy as np

from compiler.graph import Op, Tensor
from compiler.layout import moves
from compiler.lowering import Lowering, Vectors
from compiler.virtual import Buffer
from isa.config import F32_BYTES


def lower_view(low: Lowering, op: Op) -> None:
    """The output is another name for the input's storage, or its numbers in vectors of their
    own."""
    source = op.inputs[0]
    assert isinstance(source, Tensor)
    if not moves(op):
        low.tensors[op.output.name] = low.place(source)
    elif op.output.width == 1:
        _cut(low, op, source)
    else:
        _join(low, op, source)


def _cut(low: Lowering, op: Op, source: Tensor) -> None:
    """Each number times 1, the others of its row times 0, added up: in lane 0."""
    build, out = low.builder, op.output
    units, pitch = _units(low, source.width)
    alone = build.sram("one of a row", build.chunk * pitch)
    rows, single = low.by_token(op, source), low.by_token(op, out)
    for place in range(out.groups):
        group, lane = divmod(place, source.width)
        unit = Vectors(units, lane * pitch, 0)
        low.by_rows("vmul", Vectors(alone, 0, pitch), rows[group], source.width, unit)
        low.by_rows("vsum", single[place], Vectors(alone, 0, pitch), source.width)


def _join(low: Lowering, op: Op, source: Tensor) -> None:
    """Each number times a row of zeros and a one, added up."""
    build, out = low.builder, op.output
    units, pitch = _units(low, out.width)
    alone = Vectors(build.sram("one of a row", build.chunk * pitch), 0, pitch)
    rows, single = low.by_token(op, out), low.by_token(op, source)
    for place in range(source.groups):
        group, lane = divmod(place, out.width)
        target = alone if lane else rows[group]
        number = Vectors(single[place].buffer, single[place].offset, single[place].stride, "col")
        low.by_rows("vmul", target, Vectors(units, lane * pitch, 0), out.width, number)
        if lane:
            low.by_rows("vadd", rows[group], rows[group], out.width, alone)


def _units(low: Lowering, width: int) -> tuple[Buffer, int]:
    """The rows of a unit matrix in SRAM, and their distance in bytes."""
    lanes = low.config.lanes
    matrix = np.eye(width, -(-width // lanes) * lanes, dtype=np.float32)
    return low.constant_row(f"units of {width}", matrix), F32_BYTES * matrix.shape[1]
