"""Lowering of the largest number of all tokens of a launch, or 0.

Where one chunk has them all, it is found and used at once. Where they come in chunks, each one
passes the largest number so far on to the next, in HBM: row i + 1 is that of chunks 0 to i, row 0
stays zero. When the next pass begins, the last chunk's row is there.
"""

from compiler import builder as b
from compiler.builder import round_up
from compiler.graph import Op, Tensor
from compiler.lowering import Lowering
from compiler.virtual import Buffer, FieldValue
from isa.config import HBM_ATOM_BYTES


def lower_launch_max(low: Lowering, op: Op) -> None:
    """That of the only chunk, for each of its tokens."""
    _spread(low, op, _largest(low, op))


def lower_note_max(low: Lowering, op: Op) -> None:
    """Of this chunk and all before: HBM's next row."""
    build, vector = low.builder, low.config.f32_vector_bytes
    largest = _largest(low, op)
    chunks = -(-low.graph.max_context // build.chunk)
    rows = build.hbm.reserve(f"maxima {op.inputs[0]}", (1 + chunks) * _pitch(low))
    low.noted[op.output.name.removesuffix(f".{op.kind}")] = rows
    build.scalar("shr", rd=b.SCRATCH, rs=b.DONE, x=build.chunk.bit_length() - 1)
    before = _row(low, rows)
    fields: dict[str, FieldValue] = {
        "dst": largest.at(),
        "a": largest.at(),
        "b": before.at(),
        "rows": 1,
        "cols": low.config.lanes,
    }
    reads = (largest.access(), before.access())
    build.emit("vmax", reads, (largest.access(),), fields=fields)
    build.scalar("add", rd=b.SCRATCH, rs=b.SCRATCH, x=_pitch(low) // HBM_ATOM_BYTES)
    fields = {"hbm": b.SCRATCH, "sram": largest.at(), "rows": 1, "bytes": vector}
    build.emit("store", (largest.access(),), (rows.access(),), fields=fields)


def lower_noted_max(low: Lowering, op: Op) -> None:
    """The row of the last chunk, for each token of this one."""
    build = low.builder
    build.scalar("add", rd=b.SCRATCH, rs=b.NEW_TOKENS, x=build.chunk - 1)
    build.scalar("shr", rd=b.SCRATCH, rs=b.SCRATCH, x=build.chunk.bit_length() - 1)
    _spread(low, op, _row(low, low.noted[op.output.name]))


def _pitch(low: Lowering) -> int:
    """Bytes from row to row."""
    return round_up(low.config.f32_vector_bytes, low.config.hbm_alignment_bytes)


def _row(low: Lowering, rows: Buffer) -> Buffer:
    """The row whose number is in SCRATCH; its place, in atoms, is there afterwards."""
    build, vector = low.builder, low.config.f32_vector_bytes
    target = build.sram("largest of all", vector)
    fields: dict[str, FieldValue] = {
        "hbm": build.row_place(b.SCRATCH, _pitch(low), rows),
        "sram": target.at(),
        "rows": 1,
        "bytes": vector,
    }
    build.emit("load", (rows.access(),), (target.access(),), fields=fields)
    return target


def _largest(low: Lowering, op: Op) -> Buffer:
    """Maxima of rows, in lane 0 of a vector each with zeros behind; the maximum of all these."""
    source, build, vector = op.inputs[0], low.builder, low.config.f32_vector_bytes
    assert isinstance(source, Tensor)
    rows = low.flat_rows(op, source)
    maxima = build.sram("maxima of rows", build.chunk * rows.multiple * vector)
    largest = build.sram("largest", vector)
    placed = low.place(source).buffer
    fields: dict[str, FieldValue] = {
        "dst": maxima.at(),
        "dstride": vector,
        "a": placed.at(),
        "astride": rows.stride,
        "rows": build.rows(rows.multiple),
        "cols": rows.cols,
    }
    build.emit("vrmax", (placed.access(),), (maxima.access(),), fields=fields)
    lanes = build.rows(rows.multiple * low.config.lanes)
    fields = {"dst": largest.at(), "a": maxima.at(), "rows": 1, "cols": lanes}
    build.emit("vrmax", (maxima.access(),), (largest.access(),), fields=fields)
    return largest


def _spread(low: Lowering, op: Op, largest: Buffer) -> None:
    """Lane 0 of a vector to each token."""
    out, vector = low.place(op.output).buffer, low.config.f32_vector_bytes
    fields: dict[str, FieldValue] = {
        "dst": out.at(),
        "dstride": vector,
        "a": largest.at(),
        "rows": b.M,
        "cols": 1,
    }
    low.builder.emit("vmov", (largest.access(),), (out.access(),), fields=fields)
