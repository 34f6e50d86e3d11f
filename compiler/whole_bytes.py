"""Products of whole numbers on arrays of int8: both sides shifted into a byte.

A quantised activation is a code less its zero point, q - z, and so is a weight: both have 256
values, but not those of int8. An array of bytes multiplies q - z - s and w - t, where s and t are
whole numbers; what they left out is added behind it:

    (q - z) W = (q - z - s) (W - t) + t sum(q - z - s) + s (column sums of W)

A zero point that the chip finds (DynamicQuantizeLinear) takes part in s. All numbers are whole:
nothing is rounded while the sums stay below 2^24, as on an array of bf16.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from compiler.deferred import Array, Deferred
from compiler.errors import CompileError
from compiler.graph import Constant, Graph, Op, Operand, Scalar, Tensor
from compiler.lowering import describe
from compiler.whole_numbers import BYTES, Range, whole_range

_LOW, _HIGH = BYTES
_AS_IT_IS = "codes as they are"  # the constant: a scale of 1, and its reciprocal


def of_whole_numbers(op: Op) -> bool:
    """Whether a product is one of whole numbers."""
    return op.kind == "linear" and "bytes" in op.attributes


def with_whole_bytes(graph: Graph) -> Graph:
    """The graph for an array of int8, whose products of whole numbers are products of bytes.

    CompileError names what no byte holds.
    """
    if not any(of_whole_numbers(op) for op in graph.ops):
        return graph
    return _Shifts(graph).graph()


class _Shifts:
    """Writes the new operators."""

    def __init__(self, graph: Graph) -> None:
        self.old, self.constants = graph, dict(graph.constants)
        self.constants[_AS_IT_IS] = np.ones((1, 2), np.float32)
        self.made = {op.output.name: op for op in graph.ops}
        self.ops = dict[str, Op]()  # by what they make

    def graph(self) -> Graph:
        """All operators."""
        for op in self.old.ops:
            if of_whole_numbers(op):
                self._product(op)
            else:
                self.ops[op.output.name] = op
        return replace(self.old, ops=tuple(self.ops.values()), constants=self.constants)

    def _product(self, op: Op) -> None:
        x, weights, *_ = op.inputs
        assert isinstance(x, Tensor)
        assert isinstance(weights, Constant)
        entering, shift = self._entering(op, x)
        given = self.old.constants[weights.name]
        columns, taken = self._columns(weights.name, given)
        shifts: list[tuple[Tensor | Scalar, np.ndarray]] = []
        if columns.any():
            total = Tensor(f"{entering.name}.sum", x.groups, 1)
            self._once("reduce_sum", (entering,), total, op)
            shifts.append((total, columns))
        if shift is not None:
            sums = np.asarray(given, np.float64).sum(0, keepdims=True)
            shifts.append((shift, sums.astype(np.float32)))
        names = [f"{op.output.name} in bytes", f"{op.output.name} shifted"][: len(shifts)]
        results = [replace(op.output, name=name) for name in names] + [op.output]
        inputs = entering, taken, Constant(_AS_IT_IS)
        attributes = {**op.attributes, "bytes": True, "codes": "i8"}
        self._once("linear", inputs, results[0], op, attributes)
        for (factor, row), y, result in zip(shifts, results, results[1:], strict=False):
            self._once("add", (y, self._times(op, y, factor, row)), result, op)

    def _entering(self, op: Op, x: Tensor) -> tuple[Tensor, Tensor | Scalar | None]:
        """What bytes hold of ``x``, and what was taken away from it: a number, or one for each
        token; None where nothing was."""
        found = whole_range(self.made, x)
        if found and found[0] >= _LOW and found[1] <= _HIGH:
            return x, None
        shifted = Tensor(f"{x.name} in bytes", x.groups, x.width)
        if found and (shift := _shift(found)) is not None:
            self._once("sub", (x, Scalar(shift)), shifted, op)
            return shifted, Scalar(shift)
        made = self.made[x.name]
        codes, zero = made.inputs[0], made.inputs[-1]
        span = whole_range(self.made, codes)
        shift = _shift(span) if span else None
        one = isinstance(zero, Tensor) and (zero.groups, zero.width) == (1, 1)
        if made.kind != "sub" or not one or shift is None:
            where = f"{self.old.source}: {describe(op)}"
            raise CompileError(where, f"whole numbers of {x.name} are more than an int8 array has")
        self._once("sub", (codes, Scalar(shift)), shifted, op)
        left, point = (Tensor(f"{x.name}.{part}", 1, 1) for part in ("left", "shift"))
        self._once("mul", (zero, Scalar(-1.0)), left, op)
        self._once("add", (left, Scalar(shift)), point, op)
        return shifted, point

    def _columns(self, name: str, weights: Array) -> tuple[np.ndarray, Constant]:
        """What each column's weights are lowered by, (1, N), alike where that does, and the
        constant that remains."""
        values = np.asarray(weights, np.float32)
        ends = values.min(0, keepdims=True), values.max(0, keepdims=True)
        if ends[1].max() - ends[0].min() <= _HIGH - _LOW:
            ends = np.full_like(ends[0], ends[0].min()), np.full_like(ends[1], ends[1].max())
        columns = np.maximum(ends[1] - _HIGH, 0) + np.minimum(ends[0] - _LOW, 0)
        if not columns.any():
            return columns, Constant(name)
        lowered = f"{name} in bytes"
        if isinstance(weights, Deferred):
            key = (*weights.key, "in bytes")
            later = Deferred(key, weights.shape, lambda: np.asarray(weights) - columns)
            self.constants[lowered] = later
        else:
            self.constants[lowered] = values - columns
        return columns, Constant(lowered)

    def _times(self, op: Op, y: Tensor, factor: Tensor | Scalar, row: np.ndarray) -> Operand:
        """A number, or one for each row of ``y``, times (1, N), to be added to ``y``."""
        name = f"{y.name} + {factor}"
        if isinstance(factor, Scalar):
            self.constants[name] = row * np.float32(factor.value)
            return Constant(name)
        if (row == row[0, 0]).all():
            term = Tensor(name, factor.groups, 1)
            self._once("mul", (factor, Scalar(float(row[0, 0]))), term, op)
            return term
        self.constants[name] = row
        zeros, rows, term = (replace(y, name=f"{name}, {part}") for part in ("0", "row", "term"))
        self._once("mul", (y, Scalar(0.0)), zeros, op)
        self._once("add", (zeros, Constant(name)), rows, op)
        self._once("mul", (rows, factor), term, op)
        return term

    def _once(
        self,
        kind: str,
        inputs: tuple[Operand, ...],
        output: Tensor,
        op: Op,
        attributes: Mapping[str, object] | None = None,
    ) -> None:
        """An operator, if none makes that tensor already."""
        if output.name not in self.ops:
            self.ops[output.name] = Op(kind, inputs, output, op.sources, attributes or {})


def _shift(found: Range) -> float | None:
    """What brings a range into that of a byte; None if it is too wide."""
    shift = found[0] - _LOW
    return shift if found[1] - shift <= _HIGH else None
