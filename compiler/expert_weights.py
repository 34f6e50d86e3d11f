"""Weights of experts in HBM: columns by columns, those of all experts equally far apart."""

from dataclasses import dataclass

import numpy as np

from compiler import builder as b, weights as w
from compiler.builder import round_up
from compiler.graph import Constant, Op
from compiler.lower_linear import block_shape
from compiler.lowering import Lowering
from compiler.matrix_source import Block, Matrix
from compiler.storage import AUTO, KINDS
from compiler.virtual import Access, Buffer, FieldValue

BLOCK = 32  # rows of weights: a multiple of all storage formats' blocks
EXPERT = b.PLACE  # register: which expert


@dataclass(frozen=True)
class Piece:
    """Rows from k0 and columns from n0 on of the first expert's weights, in HBM; the next one's are
    ``stride`` bytes behind, up to ``end``."""

    k0: int
    n0: int
    block: Block
    stride: int
    end: int


@dataclass(frozen=True)
class Experts:
    """Weights of ``count`` experts as one matrix, below each other, in ``pieces``, column by
    column."""

    count: int
    matrix: Matrix
    kind: str  # of `storage.KINDS`
    pieces: list[Piece]


def stacked_weights(low: Lowering, op: Op, name: Constant) -> tuple[Matrix, str, int]:
    """All experts' weights, below each other, each from a whole block on; their format, and the
    rows from one to the next."""
    count, k, n = low.graph.constants[name.name].shape
    pitch = round_up(k, BLOCK)

    def make(layer: int) -> np.ndarray:
        weights = np.asarray(low.constant(name.name, layer), np.float32)
        if not np.isfinite(weights).all():
            raise low.refuse(op, f"weights that are not finite in {name.name}")
        return np.pad(weights, ((0, 0), (0, pitch - k), (0, 0))).reshape(-1, n)

    matrix, kind = Matrix(name.name, (count * pitch, n), make), low.storage.weights.of(op)
    return matrix, w.narrowest(make(0)) if kind == AUTO else kind, pitch


def place_experts(low: Lowering, op: Op, name: Constant) -> Experts:
    """The weights of all experts, in HBM."""
    count, k, n = low.graph.constants[name.name].shape
    matrix, kind, pitch = stacked_weights(low, op, name)
    k_step, n_step = block_shape(low, op, (k, n), op.output.groups, KINDS[kind])
    pieces = list[Piece]()
    for n0 in range(0, n, n_step):
        cols, starts = slice(n0, min(n0 + n_step, n)), range(0, k, k_step)
        blocks = [
            low.matrices.block(
                matrix, kind, slice(expert * pitch + k0, expert * pitch + min(k0 + k_step, k)), cols
            )
            for expert in range(count)
            for k0 in starts
        ]
        places = [block.source.address or 0 for block in blocks]
        stride = places[len(starts)] - places[0] if count > 1 else 0
        for k0, block, place in zip(starts, blocks, places, strict=False):
            end = place + (count - 1) * stride + block.packed.size
            pieces.append(Piece(k0, n0, block, stride, end))
    return Experts(count, matrix, kind, pieces)


def fetch(low: Lowering, piece: Piece) -> Buffer:
    """One piece of the expert whose number is in EXPERT, to SRAM."""
    build, first, size = low.builder, piece.block.source, piece.block.packed.size
    buffer = build.sram("weights", size)
    fields: dict[str, FieldValue] = {
        "hbm": build.row_place(EXPERT, piece.stride, first),
        "sram": buffer.at(),
        "rows": 1,
        "bytes": size,
    }
    assert first.address is not None
    every = Access(first, 0, piece.end - first.address)
    build.emit("load", (every,), (buffer.access(),), fields=fields)
    return buffer
