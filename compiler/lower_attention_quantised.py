"""Lowering of what is quantised inside attention: scores and softmax weights rounded to grids.

Queries, keys, values and weights are whole numbers then, which bf16 holds: both products are exact.
Scores and weights are multiplied by reciprocals before they are rounded. They come out of float
products, powers and sums, which nobody defines to the last bit: a division would not be nearer.
"""

from collections.abc import Iterator

from compiler import builder as b
from compiler.builder import round_up
from compiler.graph import Grid, Op
from compiler.head_batches import HeadRows
from compiler.lowering import Entering, Lowering
from compiler.numerics import LOG2_E, ROUNDING, float_bits
from compiler.virtual import Buffer, FieldValue
from isa.config import BF16_BYTES

_ROUND = (("vadd", ROUNDING), ("vsub", ROUNDING))


def score_steps(op: Op) -> Iterator[tuple[str, dict[str, FieldValue], tuple[Buffer, ...]]]:
    """From q Kᵀ to scores on their grids, times log2 e: instructions, as `lower_scores` wants them;
    none where scores have no grid."""
    factor, steps = op.attributes["scale"], list[tuple[str, float]]()
    for grid, behind in op.attributes.get("score_grids", ()):
        steps += [("vmul", factor / grid.scale), ("vmax", grid.low), ("vmin", grid.high), *_ROUND]
        factor = behind
    for mnemonic, value in (*steps, ("vmul", factor * LOG2_E)) if steps else ():
        yield mnemonic, {"b": float_bits(value), "bt": "scalar"}, ()


def softmax_on_grid(low: Lowering, heads: int, rows_of_scores: HeadRows, grid: Grid) -> Entering:
    """The softmax of all keys as whole numbers of the grid, in bf16."""
    scores, row_bytes = rows_of_scores.buffer, rows_of_scores.stride
    build, config, vector = low.builder, low.config, low.config.f32_vector_bytes
    count, rows = build.chunk * heads, build.rows(heads)
    column = build.sram("maxima, sums", count * vector)
    weight_bytes = BF16_BYTES * round_up(low.graph.max_context, max(config.rows, config.lanes))
    weights = build.sram("weights of values", count * weight_bytes)

    def emit(
        mnemonic: str, target: Buffer, source: Buffer, stride: int, **fields: FieldValue
    ) -> None:
        base: dict[str, FieldValue] = {"dst": target.at(), "a": source.at(), "rows": rows}
        base |= {"dstride": stride, "astride": row_bytes, "cols": b.CONTEXT}
        reads = (source.access(), *((column.access(),) if fields.get("bt") == "col" else ()))
        build.emit(mnemonic, reads, (target.access(),), fields=base | fields)

    of_row: dict[str, FieldValue] = {"b": column.at(), "bstride": vector, "bt": "col"}
    emit("vrmax", column, scores, vector)
    emit("vsub", scores, scores, row_bytes, **of_row)
    emit("vexp2", scores, scores, row_bytes)
    emit("vsum", column, scores, vector)
    emit("vrecip", column, column, vector, astride=vector, cols=1)
    emit("vmul", scores, scores, row_bytes, **of_row)
    onto = (("vmul", 1 / grid.scale), ("vmin", grid.high), *_ROUND)  # nothing is below 0
    for mnemonic, value in onto[:-1]:
        emit(mnemonic, scores, scores, row_bytes, b=float_bits(value), bt="scalar")
    mnemonic, value = onto[-1]
    last: dict[str, FieldValue] = {"b": float_bits(value), "bt": "scalar", "dt": "bf16"}
    emit(mnemonic, weights, scores, weight_bytes, **last)
    return Entering(weights, weight_bytes)
