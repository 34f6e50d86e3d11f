"""Lowering of attention's scores: products with all keys, softcap, bias, and what is not seen."""

from collections.abc import Iterator, Sequence
from itertools import chain

from compiler import builder as b
from compiler.allocate import DoesNotFit
from compiler.builder import round_up
from compiler.graph import Op, Tensor
from compiler.head_batches import HeadBatch, HeadRows, fits, head_batches
from compiler.lower_attention_quantised import score_steps
from compiler.lower_biases import Bias, score_row_bytes
from compiler.lowering import Entering, Lowering, Vectors, of_group
from compiler.numerics import LOG2_E, MINUS_INFINITY, float_bits
from compiler.virtual import Address, Buffer, FieldValue
from isa.config import F32_BYTES, HBM_ATOM_BYTES, ChipConfig
from isa.program import Reg


def padded_head(width: int, config: ChipConfig) -> int:
    """Elements of a head with gaps: whole vectors, and whole tiles whichever way they are read."""
    return round_up(width, max(config.rows, config.cols, config.lanes))


def tile_unit(config: ChipConfig) -> int:
    """Keys whose multiples tiles begin at: whole vectors, and whole atoms of a bias in HBM."""
    return max(config.lanes, HBM_ATOM_BYTES // F32_BYTES)


def batches_of(low: Lowering, op: Op) -> list[HeadBatch]:
    """How the operator's heads are taken; raises DoesNotFit where the accumulators are too small
    for the scores of one."""
    rows = (low.builder.chunk, low.caches.keys)
    alone = low.caches.slots is not None or bool(op.attributes.get("codes"))
    out, heads = op.output, low.graph.caches[0].heads
    if not fits(1, out.width, rows, low.config):
        raise DoesNotFit
    return head_batches((out.groups, heads), out.width, rows, low.config, alone)


def head_row(low: Lowering, place: Address, head: int, size: int, register: Reg) -> FieldValue:
    """Where in rows (heads, m) of ``size`` bytes, or accumulators for 1, those of a head begin, the
    first of which are at ``place``; may change the register."""
    if head == 0:
        return place
    low.builder.scalar("mul", rd=register, rs=b.M, x=head * size)
    low.builder.scalar("add", rd=register, rs=register, x=place)
    return register


def lower_scores(
    low: Lowering,
    op: Op,
    batch: HeadBatch,
    sources: tuple[Entering, Buffer],
    biases: Sequence[Bias],
    newest: bool = True,
) -> HeadRows:
    """fp32 scores · log2 e of a batch of heads: (heads, m) rows as long as there are keys in SRAM,
    -inf where one is not seen. ``sources``: the batch's queries, or all in codes, and the keys;
    ``newest``: there may be keys that are too new for some token of the chunk."""
    build, config, (queries, keys) = low.builder, low.config, sources
    out = op.output
    row_bytes = score_row_bytes(low)
    scores = build.sram("scores", build.chunk * batch.count * row_bytes)
    for heads in batch.products():
        acc, rows = build.accumulators(), build.rows(batch.shared)
        fields: dict[str, FieldValue] = {
            "acc": acc.at(),
            "w": keys.at(_key_head(low, out, batch.first + heads.start)),
            "wstride": low.caches.row_bytes,
            "wpanel": config.cols * low.caches.row_bytes,
            "m": rows,
            "k": out.width,
            "n": b.CONTEXT,
            "layout": "transposed",
            "af": queries.format,
            "wf": low.caches.format.name,
        }
        if queries.scales:
            fields |= {"a": queries.at(0, batch.first + heads.start)}
            fields |= {"astride": out.groups * queries.stride}
        else:
            first = head_row(low, queries.at(0), heads.start, queries.stride, b.SCRATCH)
            fields |= {"a": first, "astride": queries.stride}
        given = (queries.buffer.access(), keys.access())
        build.emit("matmul", given, (acc.access(),), fields=fields)
        for head in heads:
            scales = queries.scales and of_group(queries.scales, batch.first + head, out.groups)
            bias = biases[(batch.first + head) % len(biases)] if biases else None
            steps = _steps(low, op, (scales, bias), newest)
            if head > heads.start and _uses_registers(low, op, bias):
                steps = chain([("vmov", {}, ())], steps)  # its place among the sums needs one, too
            _finish(low, (acc, head - heads.start, rows), (scores, head), steps)
    return HeadRows(scores, row_bytes)


def _finish(
    low: Lowering,
    accumulated: tuple[Buffer, int, Reg],
    target: tuple[Buffer, int],
    steps: Iterator[tuple[str, dict[str, FieldValue], tuple[Buffer, ...]]],
) -> None:
    """One head's scores, from its rows in the accumulators to its rows in SRAM, step by step."""
    build, (acc, number, panel), (scores, head) = low.builder, accumulated, target
    source: Buffer = acc
    for mnemonic, more, used in steps:  # one by one: they set registers
        place = head_row(low, scores.at(), head, score_row_bytes(low), b.SCRATCH2)
        a, stride = (place, score_row_bytes(low))
        fields: dict[str, FieldValue] = {"dst": place, "dstride": stride, "a": a, "astride": stride}
        if source is acc:
            fields |= {"a": head_row(low, acc.at(), number, 1, b.SCRATCH)}
            fields |= {"astride": panel, "at": "acc"}
        fields |= {"rows": b.M, "cols": b.CONTEXT}
        reads = (source.access(), *(buffer.access() for buffer in used))
        build.emit(mnemonic, reads, (scores.access(),), fields=fields | more)
        source = scores


def _uses_registers(low: Lowering, op: Op, bias: Bias | None) -> bool:
    """Whether `_steps` may leave a limit or a place in SCRATCH."""
    moving = bias is not None and bias.whole and low.caches.tiled
    return moving or op.attributes["ahead"] > 0 or op.attributes["behind"] >= 0


def _key_head(low: Lowering, q: Tensor, head: int) -> int:
    """Where in a row of the cache the keys and values are that a query head uses."""
    return head // (q.groups // low.graph.caches[0].heads) * low.caches.head_bytes


def _steps(
    low: Lowering, op: Op, factors_and_bias: tuple[Vectors | None, Bias | None], newest: bool
) -> Iterator[tuple[str, dict[str, FieldValue], tuple[Buffer, ...]]]:
    """What happens to the scores of a head, and what is read for it: queries' scales, rounding,
    softcap, bias, limits of what is seen."""
    build, attributes = low.builder, op.attributes
    factors, bias = factors_and_bias
    if factors:
        fields: dict[str, FieldValue] = {"b": factors.buffer.at(factors.offset)}
        yield "vmul", fields | {"bstride": factors.stride, "bt": "col"}, (factors.buffer,)
    on_grid = list(score_steps(op))
    yield from on_grid
    if cap := float(attributes["softcap"]) * LOG2_E:
        # c tanh(x) = 2c / (1 + 2^(-2 x log2 e)) - c; the queries bring -2 log2 e / c.
        yield "vexp2", {}, ()
        yield "vadd", {"b": float_bits(1.0), "bt": "scalar"}, ()
        yield "vrecip", {}, ()
        yield "vmul", {"b": float_bits(2 * cap), "bt": "scalar"}, ()
        yield "vsub", {"b": float_bits(cap), "bt": "scalar"}, ()
    if bias:
        place: FieldValue = bias.rows.at(bias.place)
        if bias.whole and low.caches.tiled:
            build.scalar("mul", rd=b.SCRATCH, rs=b.TILE, x=F32_BYTES)
            build.scalar("add", rd=b.SCRATCH, rs=b.SCRATCH, x=place)
            if low.caches.slots:
                build.scalar("mul", rd=b.SCRATCH2, rs=b.ROW, x=bias.stride)
                build.scalar("add", rd=b.SCRATCH, rs=b.SCRATCH, x=b.SCRATCH2)
            place = b.SCRATCH
        yield "vadd", {"b": place, "bstride": bias.stride}, (bias.rows,)
    limit: Reg = b.LIMIT
    masked = newest and attributes["ahead"] >= 0
    if masked:
        if attributes["ahead"]:
            build.scalar("add", rd=b.SCRATCH, rs=b.LIMIT, x=int(attributes["ahead"]))
            build.scalar("min", rd=b.SCRATCH, rs=b.SCRATCH, x=low.caches.keys)
            limit = b.SCRATCH
        yield "vmask", {"b": MINUS_INFINITY, "rep": limit}, ()
    if attributes["behind"] >= 0:
        _first_seen(low, int(attributes["behind"]))
        yield "vmaskl", {"b": MINUS_INFINITY, "rep": b.SCRATCH}, ()
    if not (factors or on_grid or cap or bias or masked or attributes["behind"] >= 0):
        yield "vmov", {}, ()


def _first_seen(low: Lowering, behind: int) -> None:
    """The first key that the chunk's first token sees, in 16 bits, two's complement. What is more
    than a chunk before the first key here is no more to any of its tokens than that."""
    build, least = low.builder, (1 << 30) - low.builder.chunk
    build.scalar("add", rd=b.SCRATCH, rs=b.LIMIT, x=1 << 30)
    build.scalar("max", rd=b.SCRATCH, rs=b.SCRATCH, x=least + behind + 1)
    build.scalar("sub", rd=b.SCRATCH, rs=b.SCRATCH, x=(1 << 30) + behind + 1)
    build.scalar("and", rd=b.SCRATCH, rs=b.SCRATCH, x=0xFFFF)


def lower_values(
    low: Lowering,
    op: Op,
    batch: HeadBatch,
    sources: tuple[Entering, Buffer],
    factors: Buffer | None = None,
    add: bool = False,
) -> None:
    """Weighted values of a batch of heads → their part of the operator's output: times ``factors``,
    one a row, or added to what is there. ``sources``: the batch's weights, and the values."""
    build, out, (weights, values) = low.builder, op.output, sources
    target, vector = low.place(out).buffer, low.config.f32_vector_bytes
    stride = low.rows_of(op, out, out.groups, out.width).stride
    for heads in batch.products():
        acc, rows = build.accumulators(), build.rows(batch.shared)
        fields: dict[str, FieldValue] = {
            "acc": acc.at(),
            "a": head_row(low, weights.at(0), heads.start, weights.stride, b.SCRATCH),
            "astride": weights.stride,
            "w": values.at(_key_head(low, out, batch.first + heads.start)),
            "wstride": low.caches.row_bytes,
            "wpanel": low.caches.format.bytes_of(low.config.cols),
            "m": rows,
            "k": b.CONTEXT,
            "n": out.width,
            "af": weights.format,
            "wf": low.caches.format.name,
        }
        reads = tuple(buffer.access() for buffer in (weights.buffer, values))
        build.emit("matmul", reads, (acc.access(),), fields=fields)
        for head in heads:
            pitch = out.groups * stride
            place = low.first_row(target, (batch.first + head) * stride, pitch)
            fields = {"dst": place, "dstride": pitch, "rows": b.M, "cols": out.width, "at": "acc"}
            fields |= {"a": head_row(low, acc.at(), head - heads.start, 1, b.SCRATCH)}
            fields |= {"astride": rows}
            mnemonic, used = "vmov", [acc]
            if add:
                mnemonic, used = "vadd", [acc, target]
                fields |= {"b": place, "bstride": pitch}
            elif factors:
                mnemonic, used = "vmul", [acc, factors]
                first = head_row(low, factors.at(), head, vector, b.SCRATCH2)
                fields |= {"b": first, "bstride": vector, "bt": "col"}
            accesses = tuple(buffer.access() for buffer in used)
            build.emit(mnemonic, accesses, (target.access(),), fields=fields)
