"""Lowering of products with weights of experts, all in one region of HBM, equally far apart.

A loop reads them where the chosen experts are fewer than all (m · k < E): the sequencer takes each
index from HBM and multiplies one row of a token with that expert's weights. Else the loop goes
over all experts, and multiplies rows of tokens that are zeros where another expert was chosen; the
results are added up, and adding zeros is exact. Both loops are in the program: m decides, pass by
pass. Scales of whole columns are the same for all experts, so they are factors of the result.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from compiler import builder as b
from compiler.builder import round_up
from compiler.expert_weights import EXPERT, Experts, Piece, fetch, place_experts
from compiler.graph import Constant, Op, Tensor
from compiler.lower_activations import entering
from compiler.lower_linear import multiply_block
from compiler.lower_top_index import is_zero
from compiler.lowering import Entering, Lowering, Vectors
from compiler.virtual import Buffer, FieldValue, Label
from isa.config import F32_BYTES, HBM_ATOM_BYTES
from isa.formats import FORMATS

AHEAD = 2  # blocks of weights that are fetched before one is multiplied
COUNTER = b.OFFSET  # register of the loops
Product = Callable[[Piece, Buffer, Buffer], None]  # a piece, its weights in SRAM, accumulators
Drain = Callable[[Piece, Buffer], None]


def lower_chosen_linear(low: Lowering, op: Op) -> None:
    """Each row of tokens times the weights of the expert that was chosen for it."""
    name = op.inputs[2]
    assert isinstance(name, Constant)
    build, out, experts = low.builder, op.output, place_experts(low, op, name)
    few = (experts.count - 1) // out.groups  # tokens whose experts are fewer than all
    rows = _rows_of_tokens(low, op) if few else None
    zeros = low.constant_row(f"zeros to {out.width}", np.zeros(out.width, np.float32))
    number = low.constant_row("number 0", np.zeros(low.config.lanes, np.float32))
    factors = _factors(low, experts)
    x = op.inputs[0]
    assert isinstance(x, Tensor)
    scales = entering(low, op, x, x.groups).scales if "codes" in op.attributes else None
    with build.loops(out.groups):
        chosen, end = Label(f"{out.name}: the chosen"), Label(f"{out.name}: end")
        both = 0 < few < build.chunk
        if both:
            build.scalar("blt", rs=b.M, x=few + 1, y=chosen)
        if few < build.chunk:
            _all_experts(low, op, experts, (zeros, Vectors(number, 0, 0)))
        if both:
            build.scalar("beq", rs=b.ZERO, x=0, y=end)
            build.items.append(chosen)
        if rows:
            _chosen_experts(low, op, experts, rows)
        build.items.append(end)
    for n0, cols, row in factors:
        target = replace(low.all_rows(op, out), offset=F32_BYTES * n0)
        low.by_rows("vmul", target, target, cols, Vectors(row, 0, 0), out.groups)
    if scales:
        _scale(low, op, scales)


def _scale(low: Lowering, op: Op, scales: Vectors) -> None:
    """The result's rows times one number each, or one for all rows of a token."""
    x, out = op.inputs[0], op.output
    assert isinstance(x, Tensor)
    together = x.groups == out.groups
    for target in [low.all_rows(op, out)] if together else low.by_token(op, out):
        low.by_rows("vmul", target, target, out.width, scales, out.groups if together else 1)


def _factors(low: Lowering, experts: Experts) -> list[tuple[int, int, Buffer]]:
    """Scales of columns, where the format has them: the first column, their number, in SRAM."""
    found = []
    for piece in experts.pieces:
        n0, cols = piece.n0, piece.block.cols
        scales = low.matrices.column_scales(experts.matrix, experts.kind, slice(n0, n0 + cols))
        if scales and piece.k0 == 0:
            row = low.later_row(f"scales of {experts.matrix.name}[{n0}:]", cols, scales)
            found.append((n0, cols, row))
    return found


def _all_experts(
    low: Lowering, op: Op, experts: Experts, row_and_number: tuple[Buffer, Vectors]
) -> None:
    """For each expert: rows of tokens that chose it, times its weights, added to the result."""
    build, groups, out = low.builder, op.output.groups, low.all_rows(op, op.output)
    zeros, number = row_and_number
    low.by_rows("vmov", out, Vectors(zeros, 0, 0), op.output.width, None, groups)
    build.scalar("add", rd=COUNTER, rs=b.ZERO, x=0)
    build.scalar("add", rd=EXPERT, rs=b.ZERO, x=0)
    build.scalar("sync")
    again = build.label(f"{op.output.name}: an expert")
    rows = _chosen_rows(low, op, number)
    low.by_rows("vadd", number, number, low.config.lanes, 1.0, 0)

    def product(piece: Piece, weights: Buffer, acc: Buffer) -> None:
        where = rows, rows.at(piece.k0), rows.stride
        given = piece.block, weights
        multiply_block(low, given, where, acc, build.rows(groups), piece.k0 == 0)

    def drain(piece: Piece, acc: Buffer) -> None:
        source = Vectors(acc, 0, 0, "acc")
        target = replace(out, offset=F32_BYTES * piece.n0)
        low.by_rows("vadd", target, source, piece.block.cols, target, groups)

    _multiply_pieces(low, experts, product, drain)
    _end_of_loop(low, op, (rows.buffer, number.buffer, out.buffer))
    build.scalar("add", rd=EXPERT, rs=COUNTER, x=0)
    build.scalar("blt", rs=COUNTER, x=experts.count, y=again)


def _chosen_experts(low: Lowering, op: Op, experts: Experts, rows: Entering) -> None:
    """For each row of each token: its expert's index, and its product with that one's weights."""
    index = op.inputs[1]
    assert isinstance(index, Tensor)
    build, out, place = low.builder, low.all_rows(op, op.output), low.chosen[index.name]
    build.emit("vnop", (out.buffer.access(),))  # it needs its room before the first turn writes it
    build.scalar("add", rd=COUNTER, rs=b.ZERO, x=0)
    build.scalar("sync")
    again = build.label(f"{op.output.name}: a row")
    build.scalar("mul", rd=b.SCRATCH, rs=COUNTER, x=HBM_ATOM_BYTES)
    build.scalar("ld", rd=EXPERT, x=place.at(0, HBM_ATOM_BYTES), y=b.SCRATCH)

    def product(piece: Piece, weights: Buffer, acc: Buffer) -> None:
        build.scalar("mul", rd=b.SCRATCH, rs=COUNTER, x=rows.stride)
        build.scalar("add", rd=b.SCRATCH, rs=b.SCRATCH, x=rows.at(piece.k0))
        where = rows, b.SCRATCH, rows.stride
        multiply_block(low, (piece.block, weights), where, acc, 1, piece.k0 == 0)

    def drain(piece: Piece, acc: Buffer) -> None:
        build.scalar("mul", rd=b.SCRATCH, rs=COUNTER, x=out.stride)
        build.scalar("add", rd=b.SCRATCH, rs=b.SCRATCH, x=out.buffer.at(F32_BYTES * piece.n0))
        fields: dict[str, FieldValue] = {
            "dst": b.SCRATCH,
            "a": acc.at(),
            "astride": 1,
            "at": "acc",
            "rows": 1,
            "cols": piece.block.cols,
        }
        build.emit("vmov", (acc.access(),), (out.buffer.access(),), fields=fields)

    _multiply_pieces(low, experts, product, drain)
    _end_of_loop(low, op, (rows.buffer, out.buffer))
    build.scalar("blt", rs=COUNTER, x=build.rows(op.output.groups), y=again)


def _multiply_pieces(low: Lowering, experts: Experts, product: Product, drain: Drain) -> None:
    """All pieces of the expert in EXPERT, fetched ahead; a drain follows a column's last piece."""
    weights, pieces = list[Buffer](), experts.pieces
    acc = low.builder.accumulators()
    for number, piece in enumerate(pieces):
        while len(weights) < min(number + 1 + AHEAD, len(pieces)):
            weights.append(fetch(low, pieces[len(weights)]))
        product(piece, weights[number], acc)
        if number + 1 == len(pieces) or pieces[number + 1].k0 == 0:
            drain(piece, acc)
            acc = low.builder.accumulators()


def _end_of_loop(low: Lowering, op: Op, buffers: tuple[Buffer, ...]) -> None:
    """All engines done. What the next turn reads keeps its room up to here."""
    inputs = [low.place(x).buffer for x in op.inputs if isinstance(x, Tensor)]
    if "codes" in op.attributes and isinstance(x := op.inputs[0], Tensor):
        inputs.append(entering(low, op, x, x.groups).buffer)
    low.builder.emit("vnop", tuple(each.access() for each in (*inputs, *buffers)))
    low.builder.scalar("sync")
    low.builder.scalar("add", rd=COUNTER, rs=COUNTER, x=1)


def _rows_of_tokens(low: Lowering, op: Op) -> Entering:
    """Rows (m · groups, K) for the array; each group its own, even of one vector."""
    x, groups = op.inputs[0], op.output.groups
    assert isinstance(x, Tensor)
    if x.groups == groups:
        return entering(low, op, x, groups)
    (source,) = _sources(low, op, x, 1)
    rows = _room(low, op, "rows of tokens", x, groups)
    for group in range(groups):
        target = Vectors(rows.buffer, group * rows.stride, groups * rows.stride)
        low.by_rows("vmov", target, source, x.width, None, 1, rows.format)
    return rows


def _sources(low: Lowering, op: Op, x: Tensor, groups: int) -> list[Vectors]:
    """The tensor's rows, all in one or those of one group: codes where the product is of codes."""
    if "codes" in op.attributes:
        rows = entering(low, op, x, x.groups)
        return [Vectors(rows.buffer, 0, rows.stride, rows.format)]
    return low.by_token(op, x) if groups == 1 else [low.all_rows(op, x)]


def _room(low: Lowering, op: Op, name: str, x: Tensor, groups: int) -> Entering:
    """For rows (m · groups, K) in the format in which the array takes them."""
    codes = str(op.attributes.get("codes", "bf16"))
    kind = "bf16" if low.config.element == "bf16" else codes
    stride = FORMATS[kind].bytes_of(round_up(x.width, max(low.config.rows, low.config.lanes)))
    return Entering(low.builder.sram(name, low.builder.chunk * groups * stride), stride, kind)


def _chosen_rows(low: Lowering, op: Op, number: Vectors) -> Entering:
    """Rows (m · groups, K) for the array, zeros where another expert than ``number`` was chosen."""
    x, index = op.inputs[:2]
    assert isinstance(x, Tensor)
    assert isinstance(index, Tensor)
    build, groups, vector = low.builder, index.groups, low.config.f32_vector_bytes
    mask = Vectors(build.sram("is chosen", build.chunk * groups * vector), 0, vector)
    column = replace(number, kind="col")
    low.by_rows("vsub", mask, low.all_rows(op, index), 1, column, groups)
    low.by_rows("vabs", mask, mask, 1, None, groups)
    is_zero(low, mask, 1, groups)
    rows = _room(low, op, "rows of an expert", x, groups)
    if x.groups == groups:
        factor, (source,) = replace(mask, kind="col"), _sources(low, op, x, groups)
        target = Vectors(rows.buffer, 0, rows.stride)
        low.by_rows("vmul", target, source, x.width, factor, groups, rows.format)
        return rows
    (source,) = _sources(low, op, x, 1)
    for group in range(groups):
        target = Vectors(rows.buffer, group * rows.stride, groups * rows.stride)
        factor = Vectors(mask.buffer, group * vector, groups * vector, "col")
        low.by_rows("vmul", target, source, x.width, factor, 1, rows.format)
    return rows
