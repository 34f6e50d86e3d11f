"""Lowering of what enters the array: rows in bf16, or in codes of 8 bits with their scales.

An array of bf16 takes codes as the bf16 numbers that they are, one more instruction; an array of
bytes takes them as they are. Dynamic scales, one for each row: |x|, its maximum, that over the
largest code, limited from below (a row of zeros would have no reciprocal), 1 / scale, x / scale in
codes. A NaN makes its row's scale NaN, an infinity makes its results NaN.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from compiler.builder import round_up
from compiler.graph import Constant, Op, Tensor
from compiler.layout import Layout
from compiler.lowering import Entering, Lowering, Vectors
from compiler.quantiser import SCALES
from compiler.virtual import Buffer, FieldValue
from compiler.weights import LARGEST
from isa.config import F32_BYTES
from isa.formats import FORMATS


@dataclass(frozen=True)
class Rows:
    """``multiple`` · m rows of fp32 numbers in SRAM, ``stride`` bytes apart, ``length`` elements
    each: of these, ``pieces`` hold numbers: (place in the first row, its first element, how
    many)."""

    buffer: Buffer
    stride: int
    multiple: int
    length: int
    pieces: Sequence[tuple[FieldValue, int, int]]


def entering(low: Lowering, op: Op, tensor: Tensor, groups: int) -> Entering:
    """A copy of the tensor for the array, as the operator wants it: (m · groups, K); made once."""
    codes = str(op.attributes.get("codes", ""))
    scale = _static_scale(op)
    key = f"{tensor.name}/{groups}/{codes}/{scale}"
    if key not in low.activations:
        rows = _rows(low, op, tensor, groups)
        if codes:
            low.activations[key] = enter_codes(low, rows, codes, scale, key)
        else:
            low.activations[key] = _enter_bf16(low, op, rows, key)
    return low.activations[key]


def has_static_scale(op: Op) -> bool:
    """Whether the codes of a product have one scale for all."""
    return bool(_static_scale(op))


def static_factor(low: Lowering, op: Op, layer: int) -> np.float32:
    """What a product of static codes is multiplied by."""
    return np.float32(np.asarray(low.constant(_static_scale(op), layer))[0, 0])


def enter_codes(low: Lowering, rows: Rows, codes: str, scale: str = "", name: str = "") -> Entering:
    """fp32 rows in the format ``codes``: with a constant ``scale``, (1, 2), or dynamic ones."""
    if scale:
        row = low.later_row(
            f"1 / {scale}", 1, lambda layer: np.asarray(low.constant(scale, layer))[:, 1]
        )
        return _rounded(low, rows, codes, Vectors(row, 0, 0, "col"), name)
    build, vector, count = low.builder, low.config.f32_vector_bytes, low.builder.chunk
    stride = F32_BYTES * round_up(rows.length, low.config.lanes)
    sizes = Vectors(build.sram("magnitudes", count * rows.multiple * stride), 0, stride)
    scales, inverse = (
        Vectors(build.sram(f"{part} of {name}", count * rows.multiple * vector), 0, vector)
        for part in ("scales", "inverse scales")
    )
    for place, element, cols in rows.pieces:
        _apply(low, "vabs", rows, (place, cols), replace(sizes, offset=F32_BYTES * element), {})
    low.by_rows("vrmax", scales, sizes, rows.length, None, rows.multiple)
    low.by_rows("vmul", scales, scales, 1, 1 / LARGEST[codes], rows.multiple)
    low.by_rows("vmax", scales, scales, 1, SCALES[0], rows.multiple)
    low.by_rows("vrecip", inverse, scales, 1, None, rows.multiple)
    entered = _rounded(low, rows, codes, replace(inverse, kind="col"), name)
    return replace(entered, scales=replace(scales, kind="col"))


def _rounded(low: Lowering, rows: Rows, codes: str, inverse: Vectors, name: str) -> Entering:
    """The rows times ``inverse``, one number each, in the format."""
    bf16 = low.config.element == "bf16"
    entered = _room(low, rows, codes, f"{name} in codes" if bf16 else name)
    factor: dict[str, FieldValue] = {
        "b": inverse.buffer.at(inverse.offset),
        "bstride": inverse.stride,
        "bt": inverse.kind,
        "dt": codes,
    }
    for place, element, cols in rows.pieces:
        target = Vectors(entered.buffer, FORMATS[codes].bytes_of(element), entered.stride)
        _apply(low, "vmul", rows, (place, cols), target, factor, inverse.buffer)
    if not bf16:
        return entered
    plain = _room(low, rows, "bf16", name)
    source = Vectors(entered.buffer, 0, entered.stride, codes)
    target = Vectors(plain.buffer, 0, plain.stride)
    low.by_rows("vmov", target, source, rows.length, None, rows.multiple, "bf16")
    return plain


def _enter_bf16(low: Lowering, op: Op, rows: Rows, name: str) -> Entering:
    if low.config.element != "bf16":
        problem = f"its product is computed in bf16, but the array of {low.config.name!r} "
        problem += f"multiplies {low.config.element} values"
        raise low.refuse(op, problem, 'choose a --config with element = "bf16"')
    entered = _room(low, rows, "bf16", name)
    for place, element, cols in rows.pieces:
        target = Vectors(entered.buffer, FORMATS["bf16"].bytes_of(element), entered.stride)
        _apply(low, "vmov", rows, (place, cols), target, {"dt": "bf16"})
    return entered


def _room(low: Lowering, rows: Rows, kind: str, name: str) -> Entering:
    """Whole rows of the array, and whole vectors."""
    length = round_up(rows.length, max(low.config.rows, low.config.lanes))
    stride = FORMATS[kind].bytes_of(length)
    buffer = low.builder.sram(name, low.builder.chunk * rows.multiple * stride)
    return Entering(buffer, stride, kind)


def _apply(
    low: Lowering,
    mnemonic: str,
    rows: Rows,
    piece: tuple[FieldValue, int],
    target: Vectors,
    more: dict[str, FieldValue],
    *read: Buffer,
) -> None:
    """One instruction over a piece of all rows."""
    fields: dict[str, FieldValue] = {
        "dst": target.buffer.at(target.offset),
        "dstride": target.stride,
        "a": piece[0],
        "astride": rows.stride,
        "rows": low.builder.rows(rows.multiple),
        "cols": piece[1],
    }
    reads = tuple(buffer.access() for buffer in (rows.buffer, *read))
    low.builder.emit(mnemonic, reads, (target.buffer.access(),), fields=fields | more)


def _static_scale(op: Op) -> str:
    """The constant's name; "" of dynamic scales, and of none."""
    last = op.inputs[-1]
    static = op.kind == "linear" and len(op.inputs) == 3
    return last.name if static and isinstance(last, Constant) else ""


def _rows(low: Lowering, op: Op, tensor: Tensor, groups: int) -> Rows:
    """The tensor as m · groups rows, with the gaps that its layout has."""
    placed, width = low.place(tensor), tensor.size // groups
    layout = placed.layout
    stride = layout.row_bytes(groups, width) or layout.token_bytes
    pieces = [
        (placed.buffer.at(F32_BYTES * source), target, cols)
        for source, target, cols in pieces_of(low, op, tensor, groups)
    ]
    return Rows(placed.buffer, stride, groups, _physical_length(layout, width), pieces)


def pieces_of(low: Lowering, op: Op, tensor: Tensor, groups: int) -> list[tuple[int, int, int]]:
    """(source element, target element, count) of the runs of one row."""
    layout, width = low.place(tensor).layout, tensor.size // groups
    if layout.row_bytes(groups, width) is not None:
        return [(0, 0, width)]
    if groups != 1:
        raise low.refuse(op, f"rows of {width} elements of {tensor.name} have gaps")
    pad = layout.padded_width
    return [(s * pad, s * pad, layout.width) for s in range(layout.segments)]


def _physical_length(layout: Layout, width: int) -> int:
    if layout.dense or width == layout.width:
        return width
    return layout.token_elements
