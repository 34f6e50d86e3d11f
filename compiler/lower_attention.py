"""Lowering of attention: scores over the whole context, softmax in the base 2, weighted values.

The layer's cache rows of the past come from HBM to SRAM early; the new rows are written behind
them by the vector unit and stored to HBM from there. Softmax leaves out the division: the weights
are 2^(s - max), rounded to bf16, and the output row is multiplied by the reciprocal of their sum.
"""

from compiler import builder as b
from compiler.builder import Builder, round_up
from compiler.errors import CompileError
from compiler.graph import Graph, Op, Tensor
from compiler.lowering import Caches, Lowering
from compiler.numerics import LOG2_E, MINUS_INFINITY, float_bits
from compiler.schedule import DoesNotFit
from compiler.virtual import Buffer, FieldValue
from isa.config import BF16_BYTES, F32_BYTES, HBM_ATOM_BYTES


def reserve_caches(graph: Graph, build: Builder) -> Caches:
    """HBM room for every layer's keys and values: rows of all heads, one row a token."""
    shapes = {(cache.heads, cache.width) for cache in graph.caches}
    if len(shapes) != 1:
        problem = f"layers with different KV caches {sorted(shapes)}"
        raise CompileError(graph.source, problem, "one shape for all layers works")
    heads, width = shapes.pop()
    config = build.config
    head_bytes = BF16_BYTES * round_up(width, max(config.rows, config.cols, config.lanes))
    row_bytes = round_up(heads * head_bytes, config.hbm_alignment_bytes)
    size = graph.max_context * row_bytes
    if size >= 1 << 20:
        problem = f"a layer's keys of {graph.max_context} tokens take {size} bytes"
        remedy = "at most 1 MiB in one transfer: choose a smaller --max-context"
        raise CompileError(graph.source, problem, remedy)
    buffers = [
        (
            build.hbm.reserve(f"keys {cache.layer}", size),
            build.hbm.reserve(f"values {cache.layer}", size),
        )
        for cache in graph.caches
    ]
    return Caches(buffers, row_bytes, head_bytes)


def lower_attention(low: Lowering, op: Op) -> None:
    """Softmax(scale · Q Kᵀ, causal) V for every head; appends to the layer's cache."""
    q, k, v = op.inputs
    assert isinstance(q, Tensor)
    assert isinstance(k, Tensor)
    assert isinstance(v, Tensor)
    layer = [cache.layer for cache in low.graph.caches].index(int(op.attributes["layer"]))
    keys = _cache_rows(low, op, k, low.caches.buffers[layer][0])
    values = _cache_rows(low, op, v, low.caches.buffers[layer][1])
    queries = _queries(low, op, q, float(op.attributes["scale"]))
    scores, row_bytes = _scores(low, q, k.groups, queries, keys)
    weights, weight_bytes, sums = _softmax(low, q.groups, scores, row_bytes)
    _outputs(low, op, k.groups, (weights, weight_bytes), values, sums)


def _cache_rows(low: Lowering, op: Op, new: Tensor, cache: Buffer) -> Buffer:
    """The cache's rows 0 … P+m-1 in SRAM: the past fetched, the new ones written and stored."""
    build = low.builder
    context_bytes = low.graph.max_context * low.caches.row_bytes
    rows = build.sram(cache.name, context_bytes)
    whole = (rows.access(),)
    fields: dict[str, FieldValue] = {
        "hbm": cache.at(0, HBM_ATOM_BYTES),
        "sram": rows.at(),
        "rows": 1,
        "bytes": b.PAST_LOAD_BYTES,
    }
    build.emit("load", (cache.access(),), whole, True, fields)
    source = low.place(new)
    from_rows = low.rows_of(op, new, new.groups, new.width)
    build.scalar("add", rd=b.SCRATCH, rs=b.PAST_BYTES, x=rows.at())
    contiguous = new.groups * low.caches.head_bytes == low.caches.row_bytes
    for head in range(1 if contiguous else new.groups):
        if head:
            build.scalar("add", rd=b.SCRATCH, rs=b.SCRATCH, x=low.caches.head_bytes)
        fields = {
            "dst": b.SCRATCH,
            "dstride": low.caches.head_bytes if contiguous else low.caches.row_bytes,
            "a": source.buffer.at(head * from_rows.stride),
            "astride": from_rows.stride * (1 if contiguous else new.groups),
            "rows": build.rows(new.groups if contiguous else 1),
            "cols": new.width,
            "dt": "bf16",
        }
        build.emit("vmov", (source.buffer.access(),), whole, fields=fields)
    build.scalar("add", rd=b.SCRATCH, rs=b.PAST_BYTES, x=rows.at())
    build.scalar("shr", rd=b.SCRATCH2, rs=b.PAST_BYTES, x=HBM_ATOM_BYTES.bit_length() - 1)
    build.scalar("add", rd=b.SCRATCH2, rs=b.SCRATCH2, x=cache.at(0, HBM_ATOM_BYTES))
    fields = {"hbm": b.SCRATCH2, "sram": b.SCRATCH, "rows": 1, "bytes": b.M_BYTES}
    build.emit("store", whole, (cache.access(),), fields=fields)
    return rows


def _queries(low: Lowering, op: Op, q: Tensor, scale: float) -> Buffer:
    """bf16 queries times scale · log2 e, (m, heads) rows of the cache's head width."""
    build, source = low.builder, low.place(q)
    rows = low.rows_of(op, q, q.groups, q.width)
    buffer = build.sram("queries", build.chunk * q.groups * low.caches.head_bytes)
    fields: dict[str, FieldValue] = {
        "dst": buffer.at(),
        "dstride": low.caches.head_bytes,
        "a": source.buffer.at(),
        "astride": rows.stride,
        "b": float_bits(scale * LOG2_E),
        "bt": "scalar",
        "rows": build.rows(q.groups),
        "cols": q.width,
        "dt": "bf16",
    }
    build.emit("vmul", (source.buffer.access(),), (buffer.access(),), fields=fields)
    return buffer


def _scores(
    low: Lowering, q: Tensor, kv_heads: int, queries: Buffer, keys: Buffer
) -> tuple[Buffer, int]:
    """fp32 scores, (m, heads) rows of the context's length, -inf where a key lies ahead."""
    build, config, context = low.builder, low.config, low.graph.max_context
    if -(-context // config.cols) * build.chunk > config.acc_rows // 2:
        raise DoesNotFit
    row_bytes = F32_BYTES * round_up(context, config.lanes)
    scores = build.sram("scores", build.chunk * q.groups * row_bytes)
    for head in range(q.groups):
        acc = build.accumulators()
        shared = head // (q.groups // kv_heads) * low.caches.head_bytes
        fields: dict[str, FieldValue] = {
            "acc": acc.at(),
            "a": queries.at(head * low.caches.head_bytes),
            "astride": q.groups * low.caches.head_bytes,
            "w": keys.at(shared),
            "wstride": low.caches.row_bytes,
            "wpanel": config.cols * low.caches.row_bytes,
            "m": b.M,
            "k": q.width,
            "n": b.CONTEXT,
            "layout": "transposed",
        }
        build.emit("matmul", (queries.access(), keys.access()), (acc.access(),), fields=fields)
        fields = {
            "dst": scores.at(head * row_bytes),
            "dstride": q.groups * row_bytes,
            "a": acc.at(),
            "astride": b.M,
            "at": "acc",
            "b": MINUS_INFINITY,
            "rep": b.LIMIT,
            "rows": b.M,
            "cols": b.CONTEXT,
        }
        build.emit("vmask", (acc.access(),), (scores.access(),), fields=fields)
    return scores, row_bytes


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
    sums: Buffer,
) -> None:
    """Weighted values of every head, divided by the sums."""
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
            "wpanel": low.config.array_col_bytes,
            "m": b.M,
            "k": b.CONTEXT,
            "n": out.width,
        }
        build.emit("matmul", (weights[0].access(), values.access()), (acc.access(),), fields=fields)
        fields = {
            "dst": target.at(head * rows.stride),
            "dstride": out.groups * rows.stride,
            "a": acc.at(),
            "astride": b.M,
            "at": "acc",
            "b": sums.at(head * vector),
            "bstride": out.groups * vector,
            "bt": "col",
            "rows": b.M,
            "cols": out.width,
        }
        reads = (acc.access(), sums.access())
        build.emit("vmul", reads, (target.access(),), fields=fields)
