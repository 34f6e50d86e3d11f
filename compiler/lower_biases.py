"""What is added to attention's scores, and scores that are none of a key's: their rows in SRAM."""

from dataclasses import dataclass

import numpy as np

from compiler import builder as b
from compiler.builder import round_up
from compiler.graph import Constant, Op, Table
from compiler.lowering import Lowering
from compiler.virtual import Buffer, FieldValue
from isa.config import F32_BYTES, HBM_ATOM_BYTES


@dataclass(frozen=True)
class Bias:
    """What is added to a head's scores: rows in SRAM, from ``place`` on, ``stride`` bytes from one
    token's to the next one's. ``whole``: they begin with key 0, whatever keys there are scores of.
    """

    rows: Buffer
    place: int
    stride: int
    whole: bool


def score_row_bytes(low: Lowering) -> int:
    """Of the scores of one head of one token."""
    return F32_BYTES * round_up(low.caches.keys, low.config.lanes)


def load_biases(low: Lowering, op: Op) -> list[Bias]:
    """For each head, or one for all: what is added to its scores; brought to SRAM."""
    found = []
    for name in op.inputs[: -1 if op.attributes.get("sinks") else None]:  # behind the tensors
        if isinstance(name, Table):
            assert low.tables is not None
            tables = low.tables
            found.append(Bias(tables.rows, tables.offset[name.name], tables.row_bytes, True))
        elif isinstance(name, Constant):
            rows, heads = _bias_rows(low, name)
            found += [Bias(rows, head * score_row_bytes(low), 0, False) for head in range(heads)]
    return found


def _bias_rows(low: Lowering, name: Constant) -> tuple[Buffer, int]:
    """Of a constant (heads, context) the columns of the keys that are in SRAM; the heads."""
    build, row_bytes = low.builder, score_row_bytes(low)
    heads, count = low.graph.constants[name.name].shape
    width = row_bytes // F32_BYTES
    if low.caches.tiled:
        width += round_up(count, width)  # a tile may begin anywhere

    def make(layer: int) -> np.ndarray:
        return np.pad(low.constant(name.name, layer), ((0, 0), (0, width - count)))

    if not low.caches.tiled:
        return low.later_row(name.name, heads * width, make), heads
    source = low.stored_row(name.name, heads * width, make)
    rows = build.sram(name.name, heads * row_bytes)
    build.scalar("shr", rd=b.SCRATCH, rs=b.TILE, x=(HBM_ATOM_BYTES // F32_BYTES).bit_length() - 1)
    build.scalar("add", rd=b.SCRATCH, rs=b.SCRATCH, x=source.at(0, HBM_ATOM_BYTES))
    fields: dict[str, FieldValue] = {
        "hbm": b.SCRATCH,
        "hstride": F32_BYTES * width // HBM_ATOM_BYTES,
        "sram": rows.at(),
        "sstride": row_bytes,
        "rows": heads,
        "bytes": row_bytes,
    }
    build.emit("load", (source.access(),), (rows.access(),), fields=fields)
    return rows, heads


def load_sinks(low: Lowering, op: Op) -> Buffer | None:
    """The sinks, brought to SRAM: a vector for each head, of which lane 0 counts; None without."""
    name, lanes = op.inputs[-1], low.config.lanes
    if not op.attributes.get("sinks"):
        return None
    assert isinstance(name, Constant)

    def make(layer: int) -> np.ndarray:
        return np.pad(low.constant(name.name, layer), ((0, 0), (0, lanes - 1)))

    return low.later_row(name.name, op.output.groups * lanes, make)
