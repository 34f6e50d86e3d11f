"""Lowering of attention's scores: products with all keys, softcap, bias, and what is not seen."""

from collections.abc import Iterator

import numpy as np

from compiler import builder as b
from compiler.builder import round_up
from compiler.graph import Constant, Op, Table, Tensor
from compiler.lower_attention_quantised import score_steps
from compiler.lowering import Lowering
from compiler.numerics import LOG2_E, MINUS_INFINITY, float_bits
from compiler.schedule import DoesNotFit
from compiler.virtual import Buffer, FieldValue
from isa.config import BF16_BYTES, F32_BYTES, ChipConfig
from isa.program import Reg


def padded_head(width: int, config: ChipConfig) -> int:
    """Elements of a head with gaps: whole vectors, and whole tiles whichever way they are read."""
    return round_up(width, max(config.rows, config.cols, config.lanes))


def query_bytes(low: Lowering, q: Tensor) -> int:
    """Of one head's query in bf16."""
    return BF16_BYTES * padded_head(q.width, low.config)


def lower_scores(
    low: Lowering, op: Op, q: Tensor, kv_heads: int, queries: Buffer, keys: Buffer
) -> tuple[Buffer, int]:
    """fp32 scores · log2 e, (m, heads) rows of the context's length, -inf where a key is not
    seen."""
    build, config, context = low.builder, low.config, low.graph.max_context
    if -(-context // config.cols) * build.chunk > config.acc_rows // 2:
        raise DoesNotFit
    row_bytes = F32_BYTES * round_up(context, config.lanes)
    scores = build.sram("scores", build.chunk * q.groups * row_bytes)
    biases = _biases(low, op, row_bytes)
    for head in range(q.groups):
        acc = build.accumulators()
        shared = head // (q.groups // kv_heads) * low.caches.head_bytes
        fields: dict[str, FieldValue] = {
            "acc": acc.at(),
            "a": queries.at(head * query_bytes(low, q)),
            "astride": q.groups * query_bytes(low, q),
            "w": keys.at(shared),
            "wstride": low.caches.row_bytes,
            "wpanel": config.cols * low.caches.row_bytes,
            "m": b.M,
            "k": q.width,
            "n": b.CONTEXT,
            "layout": "transposed",
            "wf": low.caches.format.name,
        }
        build.emit("matmul", (queries.access(), keys.access()), (acc.access(),), fields=fields)
        row: dict[str, FieldValue] = {
            "dst": scores.at(head * row_bytes),
            "dstride": q.groups * row_bytes,
            "rows": b.M,
            "cols": b.CONTEXT,
        }
        drained: dict[str, FieldValue] = {"a": acc.at(), "astride": b.M, "at": "acc"}
        kept: dict[str, FieldValue] = {"a": row["dst"], "astride": row["dstride"]}
        source, fields = acc, row | drained
        bias = biases[head % len(biases)] if biases else None
        for mnemonic, more, used in _steps(low, op, bias):  # one by one: they set registers
            reads = (source.access(), *(buffer.access() for buffer in used))
            build.emit(mnemonic, reads, (scores.access(),), fields=fields | more)
            source, fields = scores, row | kept
    return scores, row_bytes


def _steps(
    low: Lowering, op: Op, bias: tuple[Buffer, int, int] | None
) -> Iterator[tuple[str, dict[str, FieldValue], tuple[Buffer, ...]]]:
    """What happens to the scores of a head, and what is read for it: rounding, softcap, bias,
    limits of what is seen."""
    build, attributes = low.builder, op.attributes
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
        rows, place, stride = bias
        yield "vadd", {"b": rows.at(place), "bstride": stride}, (rows,)
    limit: Reg = b.LIMIT
    if attributes["ahead"] >= 0:
        if attributes["ahead"]:
            build.scalar("add", rd=b.SCRATCH, rs=b.LIMIT, x=int(attributes["ahead"]))
            limit = b.SCRATCH
        yield "vmask", {"b": MINUS_INFINITY, "rep": limit}, ()
    if attributes["behind"] >= 0:
        build.scalar("sub", rd=b.SCRATCH, rs=b.LIMIT, x=int(attributes["behind"]) + 1)
        build.scalar("and", rd=b.SCRATCH, rs=b.SCRATCH, x=0xFFFF)  # 16 bits, two's complement
        yield "vmaskl", {"b": MINUS_INFINITY, "rep": b.SCRATCH}, ()
    if not (on_grid or cap or bias or attributes["ahead"] >= 0 or attributes["behind"] >= 0):
        yield "vmov", {}, ()


def _biases(low: Lowering, op: Op, row_bytes: int) -> list[tuple[Buffer, int, int]]:
    """For each head, or for all: the bias in SRAM, its place there, and the distance of the rows of
    one token from the next's."""
    found = []
    for name in op.inputs:  # behind the tensors
        if isinstance(name, Table):
            assert low.tables is not None
            place = low.tables.offset[name.name]
            found.append((low.tables.rows, place, low.tables.row_bytes))
        elif isinstance(name, Constant):
            rows, heads = _bias_rows(low, name, row_bytes // F32_BYTES)
            found += [(rows, head * row_bytes, 0) for head in range(heads)]
    return found


def _bias_rows(low: Lowering, name: Constant, width: int) -> tuple[Buffer, int]:
    """A constant's rows, one a head, with room behind them; their number."""
    heads, count = low.graph.constants[name.name].shape

    def make(layer: int) -> np.ndarray:
        return np.pad(low.constant(name.name, layer), ((0, 0), (0, width - count)))

    return low.later_row(name.name, heads * width, make), heads
