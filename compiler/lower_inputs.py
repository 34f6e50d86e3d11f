"""The head of a pass: chunk sizes in registers, the tokens' embeddings and table rows fetched."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from compiler import builder as b
from compiler.builder import Builder, round_up
from compiler.graph import Constant, Graph, Op, Table
from compiler.lowering import Caches, Lowering, Tables, Vectors
from compiler.virtual import Buffer, FieldValue, Label
from isa.config import BF16_BYTES, F32_BYTES, HBM_ATOM_BYTES
from isa.iomap import WORD_BYTES
from isa.numbers import to_bf16


def load_arguments(build: Builder, arguments: Buffer) -> None:
    """S and P."""
    where = arguments.at(0, HBM_ATOM_BYTES)
    build.scalar("ld", rd=b.NEW_TOKENS, x=where, y=0)
    build.scalar("ld", rd=b.PAST, x=where, y=4)


def chunk_head(build: Builder, label: str, caches: Caches, causal: bool) -> None:
    """Begin a pass; at the label: m, P and T of this chunk and what derives from them. If it is not
    causal, T is S, all of whose keys are in HBM when the first of them is wanted.

    Where keys come in tiles, P and T are those within the tile that begins at a multiple of its
    size, and a chunk ends where the tile does; encoders' tiles are set up by their attention.
    """
    build.scalar("add", rd=b.DONE, rs=b.ZERO, x=0)
    build.label(label)
    build.scalar("sub", rd=b.M, rs=b.NEW_TOKENS, x=b.DONE)
    build.scalar("min", rd=b.M, rs=b.M, x=build.chunk)
    if not caches.slots:
        past_registers(build, caches, causal)


def past_registers(build: Builder, caches: Caches, causal: bool) -> None:
    """What derives from m and from the place of the first of these tokens, P + DONE."""
    cache_row_bytes = caches.row_bytes
    unit = cache_row_bytes if caches.in_one_row else 1  # of what is loaded: bytes or rows
    build.scalar("add", rd=b.PAST_NOW, rs=b.PAST, x=b.DONE)
    if caches.tiled and causal:
        build.scalar("and", rd=b.PAST_NOW, rs=b.PAST_NOW, x=caches.keys - 1)
        build.scalar("sub", rd=b.SCRATCH, rs=b.ZERO, x=b.PAST_NOW)
        build.scalar("add", rd=b.SCRATCH, rs=b.SCRATCH, x=caches.keys)
        build.scalar("min", rd=b.M, rs=b.M, x=b.SCRATCH)
    build.scalar("mul", rd=b.PAST_BYTES, rs=b.PAST_NOW, x=cache_row_bytes)
    build.scalar("add", rd=b.LIMIT, rs=b.PAST_NOW, x=1)
    if not causal:
        build.scalar("add", rd=b.CONTEXT, rs=b.NEW_TOKENS, x=0)
        build.scalar("mul", rd=b.PAST_LOAD, rs=b.NEW_TOKENS, x=unit)
        return
    build.scalar("add", rd=b.CONTEXT, rs=b.PAST_NOW, x=b.M)
    # A transfer has at least one row: without a past, one row is fetched and then overwritten.
    build.scalar("mul", rd=b.PAST_LOAD, rs=b.PAST_NOW, x=unit)
    build.scalar("max", rd=b.PAST_LOAD, rs=b.PAST_LOAD, x=unit)


def chunk_tail(build: Builder, label: str) -> None:
    """All engines done; next chunk, or go on."""
    build.scalar("sync")
    build.scalar("add", rd=b.DONE, rs=b.DONE, x=b.M)
    build.scalar("blt", rs=b.DONE, x=b.NEW_TOKENS, y=Label(label))


def fetch_tokens(
    low: Lowering, ops: Sequence[Op], ids: Mapping[str, Buffer], positions: Buffer
) -> None:
    """Fetch the tokens' rows of the position tables and of embeddings, where ``ops`` need them."""
    build, rows = low.builder, list[tuple[Buffer, Buffer, Buffer, int]]()
    if any(isinstance(x, Table) for op in ops for x in op.inputs):
        rows.append((positions, *_tables(low)))
    rows += [(ids[op.attributes["ids"]], *_embedding(low, op)) for op in ops if op.kind == "embed"]
    for numbers, source, target, row_bytes in rows:
        _fetch_rows(build, (numbers, source, target), row_bytes)


def _fetch_rows(build: Builder, buffers: tuple[Buffer, Buffer, Buffer], row_bytes: int) -> None:
    """Rows of ``source`` whose numbers are the words of ``numbers``, of this chunk's tokens."""
    numbers, source, target = buffers
    words = build.sram(f"row numbers of {target.name}", WORD_BYTES * build.chunk)
    build.scalar("mul", rd=b.OFFSET, rs=b.DONE, x=WORD_BYTES)
    build.scalar("shr", rd=b.PLACE, rs=b.OFFSET, x=HBM_ATOM_BYTES.bit_length() - 1)
    build.scalar("add", rd=b.PLACE, rs=b.PLACE, x=numbers.at(0, HBM_ATOM_BYTES))
    build.scalar("and", rd=b.OFFSET, rs=b.OFFSET, x=HBM_ATOM_BYTES - 1)
    build.scalar("mul", rd=b.INDEX, rs=b.M, x=WORD_BYTES)
    fields: dict[str, FieldValue] = {
        "hbm": b.PLACE,
        "offset": b.OFFSET,
        "sram": words.at(),
        "rows": 1,
        "bytes": b.INDEX,
    }
    build.emit("load", (numbers.access(),), (words.access(),), fields=fields)
    fields = {
        "hbm": source.at(0, HBM_ATOM_BYTES),
        "hstride": row_bytes // HBM_ATOM_BYTES,
        "hplane": words.at(),
        "sram": target.at(),
        "sstride": row_bytes,
        "rows": b.M,
        "bytes": row_bytes,
    }
    reads = source.access(), words.access()
    build.emit("gather", reads, (target.access(),), fields=fields)


def _embedding(low: Lowering, op: Op) -> tuple[Buffer, Buffer, int]:
    """The embedding matrix in HBM as rows of bf16 (fp32 where errors become whole steps), room for
    the chunk's rows, bytes of a row."""
    name = op.inputs[0]
    assert isinstance(name, Constant)
    count, width = low.graph.constants[name.name].shape
    exact = low.graph.quantised
    element_bytes = F32_BYTES if exact else BF16_BYTES
    row_bytes = round_up(element_bytes * width, low.config.hbm_alignment_bytes)

    def make(layer: int) -> np.ndarray:
        values = np.asarray(low.constant(name.name, layer), np.float32)
        rows = values if exact else to_bf16(values)
        return np.pad(rows, ((0, 0), (0, row_bytes // element_bytes - width)))

    source = low.builder.hbm.place(f"embedding {name.name}", count * row_bytes, make)
    target = low.builder.sram("embedding rows", low.builder.chunk * row_bytes)
    low.embeddings[op.output.name] = (target, row_bytes)
    return source, target, row_bytes


def lower_embed(low: Lowering, op: Op) -> None:
    """Rows, already fetched, to fp32."""
    rows, row_bytes = low.embeddings[op.output.name]
    out = low.place(op.output)
    fields: dict[str, FieldValue] = {
        "dst": out.buffer.at(),
        "dstride": low.rows_of(op, op.output, 1, op.output.width).stride,
        "a": rows.at(),
        "astride": row_bytes,
        "at": "f32" if low.graph.quantised else "bf16",
        "rows": b.M,
        "cols": op.output.width,
    }
    low.builder.emit("vmov", (rows.access(),), (out.buffer.access(),), fields=fields)


def features_bytes(build: Builder, width: int) -> int:
    """Of a token's row of an input of features."""
    return round_up(F32_BYTES * width, build.config.hbm_alignment_bytes)


def reserve_features(graph: Graph, build: Builder) -> dict[str, Buffer]:
    """Room for the rows of each input of features."""
    found = {}
    for op in graph.ops:
        if op.kind == "features":
            name, size = op.attributes["input"], features_bytes(build, op.output.width)
            found[name] = build.hbm.reserve(name, graph.max_context * size)
    return found


def lower_features(low: Lowering, op: Op) -> None:
    """The chunk's rows, from HBM."""
    build, out = low.builder, op.output
    source, size = low.features[op.attributes["input"]], features_bytes(build, out.width)
    rows = build.sram("rows of features", build.chunk * size)
    fields: dict[str, FieldValue] = {
        "hbm": build.row_place(b.DONE, size, source),
        "hstride": size // HBM_ATOM_BYTES,
        "sram": rows.at(),
        "sstride": size,
        "rows": b.M,
        "bytes": size,
    }
    build.emit("load", (source.access(),), (rows.access(),), fields=fields)
    low.by_rows("vmov", low.by_token(op, out)[0], Vectors(rows, 0, size), out.width)


def _tables(low: Lowering) -> tuple[Buffer, Buffer, int]:
    """All position tables side by side: one row, one transfer for each token."""
    if low.tables:  # of an earlier pass
        tables = low.tables
        rows = low.builder.sram("position rows", low.builder.chunk * tables.row_bytes)
        low.tables = replace(tables, rows=rows)
        return tables.source, rows, tables.row_bytes
    pieces, offsets, offset = [], {}, 0
    for name, table in low.graph.tables.items():
        width = round_up(table.shape[1], low.config.lanes)
        offsets[name] = F32_BYTES * offset
        pieces.append(np.pad(table, ((0, 0), (0, width - table.shape[1]))))
        offset += width
    row_bytes = round_up(F32_BYTES * offset, low.config.hbm_alignment_bytes)
    joined = np.concatenate(pieces, axis=1).astype(np.float32)
    padding = row_bytes // F32_BYTES - joined.shape[1]
    rows_of_all = np.pad(joined, ((0, 0), (0, padding)))
    source = low.builder.hbm.place("position tables", rows_of_all.nbytes, lambda _: rows_of_all)
    rows = low.builder.sram("position rows", low.builder.chunk * row_bytes)
    low.tables = Tables(source, rows, row_bytes, offsets)
    return source, rows, row_bytes
