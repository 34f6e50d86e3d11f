"""Lowering of attention: scores over the whole context, softmax in the base 2, weighted values.

The layer's cache rows of the past come from HBM to SRAM early; the new rows are written behind
them by the vector unit and stored to HBM from there. Softmax leaves out the division: the weights
are 2^(s - max), rounded to bf16, and the output row is multiplied by the reciprocal of their sum.
"""

from collections.abc import Collection

from compiler import builder as b
from compiler.builder import Builder, round_up
from compiler.errors import CompileError
from compiler.graph import Cache, Graph, Op, Tensor
from compiler.lower_attention_quantised import softmax_on_grid
from compiler.lower_scores import lower_scores, padded_head, query_bytes
from compiler.lowering import Caches, Lowering
from compiler.numerics import LOG2_E, float_bits
from compiler.storage import Storage
from compiler.virtual import LONGEST_ROW, Address, Buffer, FieldValue
from isa.config import BF16_BYTES, HBM_ATOM_BYTES
from isa.program import Reg
from isa.table import DMA, Operand

_ROWS = DMA.slots["rows"].field
assert isinstance(_ROWS, Operand)
_MOST_ROWS = (1 << _ROWS.bits) - 1  # of one transfer


def reserve_caches(
    graph: Graph, build: Builder, storage: Storage, looped: Collection[int] = ()
) -> Caches:
    """HBM room for every layer's keys and values: rows of all heads, one row a token. Those of
    ``looped`` layers get theirs with the layers."""
    shapes = {(cache.heads, cache.width) for cache in graph.caches}
    if len(shapes) != 1:
        problem = f"layers with different KV caches {sorted(shapes)}"
        raise CompileError(graph.source, problem, "one shape for all layers works")
    heads, width = shapes.pop()
    config = build.config
    entry = storage.kv_format
    head_bytes = entry.bytes_of(padded_head(width, config))
    row_bytes = round_up(heads * head_bytes, config.hbm_alignment_bytes)
    size = graph.max_context * row_bytes
    most = min(_MOST_ROWS, config.sram_bytes // row_bytes)
    if row_bytes > LONGEST_ROW or graph.max_context > most:
        problem = f"a layer's keys of {graph.max_context} tokens take {size} bytes"
        remedy = (
            f"choose a --max-context of at most {most}, which the SRAM of {config.name!r} holds"
        )
        raise CompileError(graph.source, problem, remedy)
    caches = Caches([], row_bytes, head_bytes, entry, size <= LONGEST_ROW, size)
    later = Buffer("cache of a later layer", "hbm", 0)
    for cache in graph.caches:
        room = (later, later) if cache.layer in looped else reserve_cache(cache, build, caches)
        caches.buffers.append(room)
    return caches


def reserve_cache(cache: Cache, build: Builder, caches: Caches) -> tuple[Buffer, Buffer]:
    """HBM room for one layer's keys and values."""
    parts = (f"{part} {cache.layer}" for part in ("keys", "values"))
    keys, values = (build.hbm.reserve(part, caches.bytes) for part in parts)
    return keys, values


def lower_attention(low: Lowering, op: Op) -> None:
    """Softmax(scale · Q Kᵀ, causal) V for every head; appends to the layer's cache."""
    q, k, v, *_ = op.inputs
    assert isinstance(q, Tensor)
    assert isinstance(k, Tensor)
    assert isinstance(v, Tensor)
    buffers = _buffers(low, op)
    keys, values = (_past_and_new(low, op, x, c) for x, c in zip((k, v), buffers, strict=True))
    _attend(low, op, q, k.groups, keys, values)


def lower_append(low: Lowering, op: Op) -> None:
    """Keys and values of this chunk go to HBM: an encoder's queries wait for those of all."""
    for new, cache in zip(op.inputs, _buffers(low, op), strict=True):
        assert isinstance(new, Tensor)
        rows = low.builder.sram(cache.name, low.builder.chunk * low.caches.row_bytes)
        _write_new(low, op, new, rows, rows.at())
        _store_new(low, cache, rows, rows.at())


def lower_attend(low: Lowering, op: Op) -> None:
    """Softmax(scale · Q Kᵀ) V for every head, over the keys and values of all tokens."""
    q, *_ = op.inputs
    assert isinstance(q, Tensor)
    keys, values = (_cached(low, cache) for cache in _buffers(low, op))
    _attend(low, op, q, low.graph.caches[0].heads, keys, values)


def _buffers(low: Lowering, op: Op) -> tuple[Buffer, Buffer]:
    """The layer's keys and values in HBM."""
    layer = [cache.layer for cache in low.graph.caches].index(int(op.attributes["layer"]))
    return low.caches.buffers[layer]


def _attend(low: Lowering, op: Op, q: Tensor, kv_heads: int, keys: Buffer, values: Buffer) -> None:
    scale, cap = float(op.attributes["scale"]), float(op.attributes["softcap"])
    factor = (-2 * scale / cap if cap else scale) * LOG2_E
    queries = _queries(low, op, q, 1.0 if "score_grids" in op.attributes else factor)
    scores, row_bytes = lower_scores(low, op, q, kv_heads, queries, keys)
    sums = None
    if grid := op.attributes.get("weight_grid"):
        weights, weight_bytes = softmax_on_grid(low, q.groups, scores, row_bytes, grid)
    else:
        weights, weight_bytes, sums = _softmax(low, q.groups, scores, row_bytes)
    _outputs(low, op, kv_heads, (weights, weight_bytes), values, sums)


def _cached(low: Lowering, cache: Buffer) -> Buffer:
    """The cache's rows in SRAM, as many as there are before this chunk's new ones, of an encoder
    all; there is room for a whole context."""
    rows = low.builder.sram(cache.name, low.graph.max_context * low.caches.row_bytes)
    fields: dict[str, FieldValue] = {
        "hbm": cache.at(0, HBM_ATOM_BYTES),
        "sram": rows.at(),
        "rows": 1,
        "bytes": b.PAST_LOAD,
    }
    if not low.caches.in_one_row:
        row_bytes = low.caches.row_bytes
        fields |= {"rows": b.PAST_LOAD, "bytes": row_bytes, "sstride": row_bytes}
        fields |= {"hstride": row_bytes // HBM_ATOM_BYTES}
    low.builder.emit("load", (cache.access(),), (rows.access(),), True, fields)
    return rows


def _past_and_new(low: Lowering, op: Op, new: Tensor, cache: Buffer) -> Buffer:
    """The cache's rows 0 … P+m-1 in SRAM: the past fetched, the new ones written and stored."""
    rows, build = _cached(low, cache), low.builder
    build.scalar("add", rd=b.SCRATCH, rs=b.PAST_BYTES, x=rows.at())
    _write_new(low, op, new, rows, b.SCRATCH)
    build.scalar("add", rd=b.SCRATCH, rs=b.PAST_BYTES, x=rows.at())
    _store_new(low, cache, rows, b.SCRATCH)
    return rows


def _write_new(low: Lowering, op: Op, new: Tensor, rows: Buffer, place: Reg | Address) -> None:
    """New keys or values, as bf16 rows of all heads; changes the register ``place``."""
    build, source = low.builder, low.place(new)
    from_rows = low.rows_of(op, new, new.groups, new.width)
    contiguous = new.groups * low.caches.head_bytes == low.caches.row_bytes
    for head in range(1 if contiguous else new.groups):
        offset = head * low.caches.head_bytes
        if head and isinstance(place, Reg):
            build.scalar("add", rd=place, rs=place, x=low.caches.head_bytes)
        fields: dict[str, FieldValue] = {
            "dst": place if isinstance(place, Reg) else rows.at(offset),
            "dstride": low.caches.head_bytes if contiguous else low.caches.row_bytes,
            "a": source.buffer.at(head * from_rows.stride),
            "astride": from_rows.stride * (1 if contiguous else new.groups),
            "rows": build.rows(new.groups if contiguous else 1),
            "cols": new.width,
            "dt": low.caches.format.name,
        }
        build.emit("vmov", (source.buffer.access(),), (rows.access(),), fields=fields)


def _store_new(low: Lowering, cache: Buffer, rows: Buffer, place: Reg | Address) -> None:
    """m rows from ``place`` in SRAM to the cache's rows from P on."""
    build = low.builder
    build.scalar("shr", rd=b.SCRATCH2, rs=b.PAST_BYTES, x=HBM_ATOM_BYTES.bit_length() - 1)
    build.scalar("add", rd=b.SCRATCH2, rs=b.SCRATCH2, x=cache.at(0, HBM_ATOM_BYTES))
    fields: dict[str, FieldValue] = {
        "hbm": b.SCRATCH2,
        "sram": place,
        "rows": 1,
        "bytes": b.M_BYTES,
    }
    build.emit("store", (rows.access(),), (cache.access(),), fields=fields)


def _queries(low: Lowering, op: Op, q: Tensor, scale: float) -> Buffer:
    """bf16 queries times ``scale``, (m, heads) rows of the cache's head width, in elements."""
    build, source = low.builder, low.place(q)
    rows = low.rows_of(op, q, q.groups, q.width)
    row_bytes = query_bytes(low, q)
    buffer = build.sram("queries", build.chunk * q.groups * row_bytes)
    fields: dict[str, FieldValue] = {
        "dst": buffer.at(),
        "dstride": row_bytes,
        "a": source.buffer.at(),
        "astride": rows.stride,
        "b": float_bits(scale),
        "bt": "scalar",
        "rows": build.rows(q.groups),
        "cols": q.width,
        "dt": "bf16",
    }
    build.emit("vmul", (source.buffer.access(),), (buffer.access(),), fields=fields)
    return buffer


def _softmax(
    low: Lowering, heads: int, scores: Buffer, row_bytes: int
) -> tuple[Buffer, int, Buffer]:
    """bf16 weights 2^(score - row maximum), and the reciprocals of their sums, a vector a row."""
    build, config, vector = low.builder, low.config, low.config.f32_vector_bytes
    count, rows = build.chunk * heads, build.rows(heads)
    column = build.sram("maxima", count * vector)
    sums = build.sram("sums", count * vector)
    unit = max(config.rows, config.lanes)
    weight_bytes = BF16_BYTES * round_up(low.graph.max_context, unit)
    weights = build.sram("weights of values", count * weight_bytes)

    def emit(mnemonic: str, target: Buffer, source: Buffer, **fields: FieldValue) -> None:
        base: dict[str, FieldValue] = {"dst": target.at(), "a": source.at(), "rows": rows}
        reads = (source.access(), column.access()) if "b" in fields else (source.access(),)
        build.emit(mnemonic, reads, (target.access(),), fields=base | fields)

    context = b.CONTEXT
    emit("vrmax", column, scores, dstride=vector, astride=row_bytes, cols=context)
    strides: dict[str, FieldValue] = {"dstride": row_bytes, "astride": row_bytes}
    wide: dict[str, FieldValue] = strides | {"cols": context}
    emit("vsub", scores, scores, b=column.at(), bstride=vector, bt="col", **wide)
    wide["dstride"] = weight_bytes
    emit("vexp2", weights, scores, dt="bf16", **wide)
    emit("vsum", sums, weights, dstride=vector, astride=weight_bytes, at="bf16", cols=context)
    emit("vrecip", sums, sums, dstride=vector, astride=vector, cols=1)
    return weights, weight_bytes, sums


def _outputs(
    low: Lowering,
    op: Op,
    kv_heads: int,
    weights: tuple[Buffer, int],
    values: Buffer,
    sums: Buffer | None,
) -> None:
    """Weighted values of every head, multiplied by ``sums``, reciprocals, if there are any."""
    build, out = low.builder, op.output
    target = low.place(out).buffer
    rows = low.rows_of(op, out, out.groups, out.width)
    vector = low.config.f32_vector_bytes
    for head in range(out.groups):
        acc = build.accumulators()
        shared = head // (out.groups // kv_heads) * low.caches.head_bytes
        fields: dict[str, FieldValue] = {
            "acc": acc.at(),
            "a": weights[0].at(head * weights[1]),
            "astride": out.groups * weights[1],
            "w": values.at(shared),
            "wstride": low.caches.row_bytes,
            "wpanel": low.caches.format.bytes_of(low.config.cols),
            "m": b.M,
            "k": b.CONTEXT,
            "n": out.width,
            "wf": low.caches.format.name,
        }
        build.emit("matmul", (weights[0].access(), values.access()), (acc.access(),), fields=fields)
        fields = {
            "dst": target.at(head * rows.stride),
            "dstride": out.groups * rows.stride,
            "a": acc.at(),
            "astride": b.M,
            "at": "acc",
            "rows": b.M,
            "cols": out.width,
        }
        if sums is None:
            build.emit("vmov", (acc.access(),), (target.access(),), fields=fields)
            continue
        fields |= {"b": sums.at(head * vector), "bstride": out.groups * vector, "bt": "col"}
        reads = (acc.access(), sums.access())
        build.emit("vmul", reads, (target.access(),), fields=fields)
