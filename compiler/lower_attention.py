"""Lowering of attention: scores over the whole context, softmax in the base 2, weighted values.

The layer's cache rows of the past come from HBM to SRAM early; the new rows are written behind
them by the vector unit and stored to HBM from there. Softmax leaves out the division: the weights
are 2^(s - max), rounded to bf16, and the output row is multiplied by the reciprocal of their sum.
"""

from collections.abc import Collection
from dataclasses import replace

from compiler import builder as b
from compiler.allocate import DoesNotFit
from compiler.builder import Builder, round_up
from compiler.errors import CompileError
from compiler.graph import Cache, Graph, Op, Tensor
from compiler.head_batches import HeadBatch, HeadRows
from compiler.lower_activations import Rows, enter_codes
from compiler.lower_attention_quantised import softmax_on_grid
from compiler.lower_biases import load_biases, load_sinks
from compiler.lower_scores import (
    batches_of,
    head_row,
    lower_scores,
    lower_values,
    padded_head,
)
from compiler.lower_slots import for_each_slot
from compiler.lower_softmax import Softmax
from compiler.lower_tiles import attend_to_tiles, fetch_place, row_address, set_up_tiles
from compiler.lowering import Caches, Entering, Lowering, SlotRecords
from compiler.numerics import LOG2_E, float_bits
from compiler.storage import Storage
from compiler.virtual import LONGEST_ROW, MOST_ROWS, Address, Buffer, FieldValue
from isa.config import BF16_BYTES, HBM_ATOM_BYTES
from isa.iomap import FIRST_PAGE, WORD_BYTES
from isa.program import Reg


def reserve_caches(
    graph: Graph, build: Builder, storage: Storage, tile: int = 0, looped: Collection[int] = ()
) -> Caches:
    """HBM room for every layer's keys and values: rows of all heads, one row a token. Of these
    ``tile`` are in SRAM at a time; 0: those of the whole context. ``looped`` layers get theirs with
    the layers."""
    shapes = {(cache.heads, cache.width) for cache in graph.caches}
    if len(shapes) != 1:
        problem = f"layers with different KV caches {sorted(shapes)}"
        raise CompileError(graph.source, problem, "one shape for all layers works")
    heads, width = shapes.pop()
    config = build.config
    entry = storage.kv_format
    head_bytes = entry.bytes_of(padded_head(width, config))
    row_bytes = round_up(heads * head_bytes, config.hbm_alignment_bytes)
    tokens, slots = graph.max_context, None
    if storage.slots:
        tokens, slots = _reserve_slots(graph, build, storage, tile)
    size = tokens * row_bytes
    if row_bytes > min(LONGEST_ROW, config.sram_bytes):
        problem = f"a layer's keys of one token take {row_bytes} bytes"
        raise CompileError(graph.source, problem, "choose a larger --config")
    total, most = 2 * len(graph.caches) * size, config.capacity_bytes
    if total > most:
        problem = f"the KV cache of {tokens} tokens takes {total} bytes, more than "
        problem += f"the {most} of HBM of {config.name!r}"
        raise CompileError(graph.source, problem, "choose a smaller --max-context")
    keys = tile or graph.max_context
    if keys > min(MOST_ROWS, config.sram_bytes // row_bytes):
        raise DoesNotFit
    caches = Caches([], row_bytes, head_bytes, entry, keys, bool(tile), size, slots)
    later = Buffer("cache of a later layer", "hbm", 0)
    for cache in graph.caches:
        room = (later, later) if cache.layer in looped else reserve_cache(cache, build, caches)
        caches.buffers.append(room)
    return caches


def _reserve_slots(
    graph: Graph, build: Builder, storage: Storage, tile: int
) -> tuple[int, SlotRecords]:
    """Tokens that there are pages for, and the records of the slots."""
    per_slot = -(-graph.max_context // tile)
    pages, least = storage.pages or per_slot * storage.slots, max(per_slot, storage.slots)
    if pages < least:
        problem = f"a context of {graph.max_context} and a page for each slot take {least}"
        raise CompileError(f"{graph.source}: --pages {pages}", problem)
    record_bytes = round_up(FIRST_PAGE + WORD_BYTES * per_slot, HBM_ATOM_BYTES)
    records = build.hbm.reserve("slots", storage.slots * record_bytes)
    return pages * tile, SlotRecords(records, record_bytes, storage.slots, pages)


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

    def attend() -> None:
        keys, values = (_past_and_new(low, op, x, c) for x, c in zip((k, v), buffers, strict=True))
        _attend(low, op, q, (keys, values))

    if low.caches.slots:
        for_each_slot(low, op, attend)
    else:
        attend()


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
    if low.caches.tiled:
        set_up_tiles(low, op)
    keys, values = (_cached(low, cache) for cache in _buffers(low, op))
    _attend(low, op, q, (keys, values))


def _buffers(low: Lowering, op: Op) -> tuple[Buffer, Buffer]:
    """The layer's keys and values in HBM."""
    layer = [cache.layer for cache in low.graph.caches].index(int(op.attributes["layer"]))
    return low.caches.buffers[layer]


def _attend(low: Lowering, op: Op, q: Tensor, rows: tuple[Buffer, Buffer]) -> None:
    scale, cap = float(op.attributes["scale"]), float(op.attributes["softcap"])
    factor = (-2 * scale / cap if cap else scale) * LOG2_E
    factor = 1.0 if "score_grids" in op.attributes else factor
    batches = batches_of(low, op)
    if op.attributes.get("weight_grid"):
        batches = [HeadBatch(0, q.groups, batches[0].shared)]
    low.builder.forget_multiples()  # those of the batches must be in registers
    codes = str(op.attributes.get("codes", ""))
    if codes:
        queries = [_coded_queries(low, op, q, factor)] * len(batches)
    else:
        queries = [_queries(low, op, batch, factor) for batch in batches]
    if low.caches.tiled:
        attend_to_tiles(low, op, list(zip(batches, queries, strict=True)), rows, _buffers(low, op))
        return
    biases, sinks = load_biases(low, op), load_sinks(low, op)

    def score(index: int) -> HeadRows:
        return lower_scores(low, op, batches[index], (queries[index], rows[0]), biases)

    if grid := op.attributes.get("weight_grid"):
        weights = softmax_on_grid(low, q.groups, score(0), grid)
        lower_values(low, op, batches[0], (weights, rows[1]))
        return
    scores = score(0)
    for index, batch in enumerate(batches):
        mine = scores
        if index + 1 < len(batches):  # the array makes them while these go through softmax
            scores = score(index + 1)
        softmax = Softmax(low, batch, codes, sinks)
        softmax.of_all(mine)
        lower_values(low, op, batch, (softmax.weights, rows[1]), softmax.sums)


def _cached(low: Lowering, cache: Buffer) -> Buffer:
    """The cache's rows in SRAM, as many as there are before this chunk's new ones, of an encoder
    all; or those of the first tile that is attended to."""
    rows = low.builder.sram(cache.name, low.caches.keys * low.caches.row_bytes)
    place, setup = fetch_place(low, cache)
    fields: dict[str, FieldValue] = {
        "hbm": place,
        "sram": rows.at(),
        "rows": 1,
        "bytes": b.PAST_LOAD,
    }
    if not low.caches.in_one_row:
        row_bytes = low.caches.row_bytes
        fields |= {"rows": b.PAST_LOAD, "bytes": row_bytes, "sstride": row_bytes}
        fields |= {"hstride": row_bytes // HBM_ATOM_BYTES}
    # Nothing later makes the registers.
    early = not low.caches.tiled or (low.graph.causal and not low.caches.slots)
    low.builder.emit("load", (cache.access(),), (rows.access(),), early, fields, setup)
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
    token_bytes = from_rows.stride * new.groups
    contiguous = new.groups * low.caches.head_bytes == low.caches.row_bytes
    for head in range(1 if contiguous else new.groups):
        offset = head * low.caches.head_bytes
        if head and isinstance(place, Reg):
            build.scalar("add", rd=place, rs=place, x=low.caches.head_bytes)
        fields: dict[str, FieldValue] = {
            "dst": place if isinstance(place, Reg) else rows.at(offset),
            "dstride": low.caches.head_bytes if contiguous else low.caches.row_bytes,
            "a": low.first_row(source.buffer, head * from_rows.stride, token_bytes),
            "astride": from_rows.stride * (1 if contiguous else new.groups),
            "rows": build.rows(new.groups if contiguous else 1),
            "cols": new.width,
            "dt": low.caches.format.name,
        }
        build.emit("vmov", (source.buffer.access(),), (rows.access(),), fields=fields)


def _store_new(low: Lowering, cache: Buffer, rows: Buffer, place: Reg | Address) -> None:
    """m rows from ``place`` in SRAM to the cache's rows from P on."""
    build = low.builder
    build.scalar("add", rd=b.SCRATCH2, rs=b.PAST, x=b.DONE)
    row_address(low, cache, b.SCRATCH2, b.FETCH)
    build.scalar("mul", rd=b.M_BYTES, rs=b.M, x=low.caches.row_bytes)
    fields: dict[str, FieldValue] = {
        "hbm": b.SCRATCH2,
        "sram": place,
        "rows": 1,
        "bytes": b.M_BYTES,
    }
    build.emit("store", (rows.access(),), (cache.access(),), fields=fields)


def _queries(low: Lowering, op: Op, batch: HeadBatch, scale: float) -> Entering:
    """bf16 queries of a batch times ``scale``: (heads, m) rows of the cache's head width."""
    build, width = low.builder, op.output.width
    row_bytes = BF16_BYTES * padded_head(width, low.config)
    buffer = build.sram("queries", build.chunk * batch.count * row_bytes)
    rows = [row for q in _parts_of_queries(op) for row in low.by_token(op, q)]
    for head, row in enumerate(rows[batch.first : batch.first + batch.count]):
        fields: dict[str, FieldValue] = {
            "dst": head_row(low, buffer.at(), head, row_bytes, b.SCRATCH),
            "dstride": row_bytes,
            "a": low.first_row(row.buffer, row.offset, row.stride),
            "astride": row.stride,
            "b": float_bits(scale),
            "bt": "scalar",
            "rows": b.M,
            "cols": width,
            "dt": "bf16",
        }
        build.emit("vmul", (row.buffer.access(),), (buffer.access(),), fields=fields)
    return Entering(buffer, row_bytes)


def _parts_of_queries(op: Op) -> list[Tensor]:
    """Queries of all heads: in one tensor, or in several, behind keys and values if these are
    there (`compiler.split_heads`)."""
    first, *more = (x for x in op.inputs if isinstance(x, Tensor))
    return [first, *(more[2:] if op.kind == "attention" else more)]


def _coded_queries(low: Lowering, op: Op, q: Tensor, scale: float) -> Entering:
    """All queries in codes, (m, heads) rows, whose scales hold the factor ``scale``."""
    source, rows = low.place(q), low.rows_of(op, q, q.groups, q.width)
    place = low.first_row(source.buffer, 0, rows.stride * q.groups)
    given = Rows(source.buffer, rows.stride, q.groups, q.width, [(place, 0, q.width)])
    codes = str(op.attributes["codes"])
    entered = enter_codes(low, given, codes, name=f"queries of {op.output.name}")
    assert entered.scales is not None
    column = replace(entered.scales, kind="f32")
    low.by_rows("vmul", column, column, 1, scale, q.groups)
    return entered
