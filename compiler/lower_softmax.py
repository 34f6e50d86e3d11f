"""Lowering of attention's softmax, in the base 2 and without the division.

The weights are 2^(score - maximum), rounded to bf16; who uses them divides by their sum. Arrays of
bytes take them as codes: times a number that makes the largest one as large as the format allows
(e4m3: a power of two), which the division takes away again. Over all
keys at once, or tile by tile with a running maximum and a running sum: where the maximum rises from
a to b, what there is so far is multiplied by 2^(a - b). It starts from a finite number below all
scores, so a tile without a visible key changes nothing. A sink is one score more for each head, of
the first tile: it takes part in maxima and sums.
"""

from math import floor, log2

from compiler import builder as b
from compiler.builder import round_up
from compiler.graph import Op
from compiler.head_batches import HeadBatch, HeadRows
from compiler.lower_scores import head_row
from compiler.lowering import Entering, Lowering
from compiler.numerics import float_bits
from compiler.virtual import Buffer, FieldValue
from compiler.weights import LARGEST
from isa.formats import FORMATS

_BELOW_ALL = float_bits(-3e38)
_LOG2_LARGEST = {"bf16": 0.0, "e4m3": floor(log2(LARGEST["e4m3"])), "i8": log2(LARGEST["i8"])}


class Softmax:
    """Softmax of a batch of one attention's heads, (heads, m) rows of scores.

    ``weights``: of the scores that came last, bf16 or ``codes``. ``sums`` and maxima are vectors,
    one a row, of which lane 0 counts; maxima are less log2 of the largest weight. ``sinks``: of all
    heads, one a vector.
    """

    def __init__(
        self, low: Lowering, batch: HeadBatch, codes: str = "", sinks: Buffer | None = None
    ) -> None:
        self._low, self._batch, self._kind, self._sinks = low, batch, codes or "bf16", sinks
        self._largest = _LOG2_LARGEST[self._kind]
        self.weights: Entering
        build, size = low.builder, low.builder.chunk * batch.count * low.config.f32_vector_bytes
        self._maxima, self.sums = build.sram("maxima", size), build.sram("sums", size)

    def _room_of_weights(self) -> Entering:
        build, config = self._low.builder, self._low.config
        length = round_up(self._low.caches.keys, max(config.rows, config.lanes))
        stride = FORMATS[self._kind].bytes_of(length)
        size = build.chunk * self._batch.count * stride
        return Entering(build.sram("weights of values", size), stride, self._kind)

    def of_all(self, scores: HeadRows) -> None:
        """Weights of all keys; ``sums`` become the reciprocals of their sums."""
        self._begin(scores)
        self._column("vrecip", self.sums, self.sums)

    def of_first(self, scores: HeadRows) -> None:
        """Weights of the first tile of keys."""
        self._begin(scores, _BELOW_ALL)

    def of_next(self, scores: HeadRows, op: Op) -> None:
        """Weights of one more tile; the output of ``op`` so far is brought to the new maxima."""
        low, vector = self._low, self._low.config.f32_vector_bytes
        size = low.builder.chunk * self._batch.count * vector
        maxima, sums = (
            low.builder.sram("tile's maxima", size),
            low.builder.sram("tile's sums", size),
        )
        self._shifted_maxima(maxima, scores)
        self._column("vmax", maxima, maxima, self._maxima)
        self._column("vsub", self._maxima, self._maxima, maxima)
        self._column("vexp2", self._maxima, self._maxima)
        self._weigh(scores, maxima, sums)
        self._column("vmul", self.sums, self.sums, self._maxima)
        self._column("vadd", self.sums, self.sums, sums)
        self._scale(op, self._maxima)
        self._column("vmov", self._maxima, maxima)

    def divide(self, op: Op) -> None:
        """The output by the sums."""
        self._column("vrecip", self.sums, self.sums)
        self._scale(op, self.sums)

    def _begin(self, scores: HeadRows, least: int | None = None) -> None:
        """Of the first keys and the sinks; maxima are ``least`` or more."""
        sinks = self._rows_of_sinks() if self._sinks else None
        self._shifted_maxima(self._maxima, scores, sinks)
        if least is not None:
            self._column("vmax", self._maxima, self._maxima, least)
        self._weigh(scores, self._maxima, self.sums)
        if sinks:
            self._column("vsub", sinks, sinks, self._maxima)
            self._column("vexp2", sinks, sinks)
            self._column("vadd", self.sums, self.sums, sinks)

    def _rows_of_sinks(self) -> Buffer:
        """The batch's sinks, one for each row of scores."""
        low, vector, build = self._low, self._low.config.f32_vector_bytes, self._low.builder
        rows = build.sram("rows of sinks", build.chunk * self._batch.count * vector)
        assert self._sinks is not None
        for head in range(self._batch.count):
            fields: dict[str, FieldValue] = {
                "dst": head_row(low, rows.at(), head, vector, b.SCRATCH),
                "dstride": vector,
                "a": self._sinks.at((self._batch.first + head) * vector),
                "astride": 0,
                "rows": b.M,
                "cols": 1,
            }
            self._emit("vmov", rows, (self._sinks,), fields)
        return rows

    def _shifted_maxima(
        self, target: Buffer, scores: HeadRows, sinks: Buffer | None = None
    ) -> None:
        self._column("vrmax", target, scores)
        if sinks:
            self._column("vmax", target, target, sinks)
        if self._largest:
            self._column("vsub", target, target, float_bits(self._largest))

    def _weigh(self, scores: HeadRows, maxima: Buffer, sums: Buffer) -> None:
        vector, row = self._low.config.f32_vector_bytes, scores.stride
        wide: dict[str, FieldValue] = {"dstride": row, "astride": row, "cols": b.CONTEXT}
        less: dict[str, FieldValue] = {"b": maxima.at(), "bstride": vector, "bt": "col"}
        self._emit("vsub", scores.buffer, (scores.buffer, maxima), wide | less)
        self.weights = weights = self._room_of_weights()
        wide["dstride"] = weights.stride
        self._emit("vexp2", weights.buffer, (scores.buffer,), wide | {"dt": weights.format})
        wide = {"dstride": vector, "astride": weights.stride, "cols": b.CONTEXT}
        wide["at"] = weights.format
        self._emit("vsum", sums, (weights.buffer,), wide)

    def _scale(self, op: Op, factors: Buffer) -> None:
        """The operator's output times a number for each row."""
        low, out, vector = self._low, op.output, self._low.config.f32_vector_bytes
        buffer, stride = low.place(out).buffer, low.rows_of(op, out, out.groups, out.width).stride
        pitch = stride * out.groups
        for head in range(self._batch.count):
            place = low.first_row(buffer, (self._batch.first + head) * stride, pitch)
            fields: dict[str, FieldValue] = {
                "dst": place,
                "a": place,
                "dstride": pitch,
                "astride": pitch,
                "b": head_row(low, factors.at(), head, vector, b.SCRATCH),
                "bstride": vector,
                "bt": "col",
                "rows": b.M,
                "cols": out.width,
            }
            self._emit("vmul", buffer, (buffer, factors), fields)

    def _column(
        self, mnemonic: str, target: Buffer, a: Buffer | HeadRows, other: Buffer | int | None = None
    ) -> None:
        """One number a row, in vectors; ``a`` may be scores, all of whose columns then count."""
        vector = self._low.config.f32_vector_bytes
        fields: dict[str, FieldValue] = {"dstride": vector, "astride": vector, "cols": 1}
        source, *more = (a,) if not isinstance(other, Buffer) else (a, other)
        if isinstance(source, HeadRows):
            fields |= {"astride": source.stride, "cols": b.CONTEXT}
            source = source.buffer
        if isinstance(other, Buffer):
            fields |= {"b": other.at(), "bstride": vector}
        elif other is not None:
            fields |= {"b": other, "bt": "scalar"}
        self._emit(mnemonic, target, (source, *more), fields)

    def _emit(
        self,
        mnemonic: str,
        target: Buffer,
        sources: tuple[Buffer, ...],
        fields: dict[str, FieldValue],
    ) -> None:
        build = self._low.builder
        base: dict[str, FieldValue] = {"dst": target.at(), "a": sources[0].at()}
        if "rows" not in fields:
            base["rows"] = build.rows(self._batch.count)
        reads = tuple(buffer.access() for buffer in sources)
        build.emit(mnemonic, reads, (target.access(),), fields=base | fields)
