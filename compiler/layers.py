"""Layers that are alike: the same operators again and again, with other constants and caches.

They can be one loop in the program: its text does not grow with the number of layers.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from compiler.deferred import LARGE_BYTES, same
from compiler.graph import Constant, Graph, Op, Operand, Tensor
from compiler.layout import Layout
from compiler.storage import Storage

_MOST_ATTENTIONS = 8  # in one layer of a loop: models alternate kinds of attention


@dataclass(frozen=True)
class Layers:
    """``count`` layers of ``period`` operators from operator ``start`` on.

    ``alike``: of each layer, its constants by their names in the first ({} for that one).
    ``carried``: what the first layer reads from before, and what it makes in its place for the
    next one. ``last``: tensors of the last layer → those of the first.
    """

    start: int
    period: int
    count: int
    alike: tuple[Mapping[str, str], ...]
    carried: tuple[tuple[Tensor, Tensor], ...]
    last: Mapping[str, Tensor]

    @property
    def end(self) -> int:
        """First operator behind the layers."""
        return self.start + self.count * self.period


class _Different(Exception):
    """These layers are not alike."""


def find_layers(graph: Graph, layouts: Mapping[str, Layout], storage: Storage) -> Layers | None:
    """The layers that save the most operators, None if no two are alike; of several ways to cut
    them, the one that carries the fewest tensors from layer to layer."""
    attentions = [index for index, op in enumerate(graph.ops) if op.kind == "attention"]
    if not graph.causal or len(attentions) < 2:
        return None
    signs = [_signature(graph, op, storage) for op in graph.ops]
    stretches = []
    for other in attentions[1 : 1 + _MOST_ATTENTIONS]:
        period = other - attentions[0]
        start = end = attentions[0]
        while start > 0 and signs[start - 1] == signs[start - 1 + period]:
            start -= 1
        while end + period < len(signs) and signs[end] == signs[end + period]:
            end += 1
        stretches.append((end - start, -period, start))
    for length, negative, start in sorted(stretches, reverse=True):
        period, end = -negative, start + length - negative
        for _, negative_count, first in _cuts(graph, layouts, period, range(start, end)):
            try:
                return _Comparison(graph, layouts, first, period, -negative_count).layers()
            except _Different:
                continue
    return None


def _cuts(
    graph: Graph, layouts: Mapping[str, Layout], period: int, stretch: range
) -> list[tuple[int, int, int]]:
    """The ways to cut a stretch of operators into layers, the best ones first: how many tensors are
    carried, -layers, the operator that begins. Only the first two of the layers are compared."""
    found = []
    for first in stretch[:period]:
        count = (stretch.stop - first) // period
        if count > 1:
            two = _Comparison(graph, layouts, first, period, 2)
            try:
                two.compare()
            except _Different:
                continue
            found.append((len(two.carried), -count, first))
    return sorted(found)


def _signature(graph: Graph, op: Op, storage: Storage) -> tuple:
    """What layers that are alike have in common, operator by operator."""
    attributes = sorted((k, str(v)) for k, v in op.attributes.items() if k != "layer")
    operands = tuple(_kind(graph, x) for x in op.inputs)
    kind = storage.weights.of(op) if op.kind == "linear" else ""
    return (op.kind, operands, op.output.groups, op.output.width, tuple(attributes), kind)


def _kind(graph: Graph, x: Operand) -> tuple:
    if isinstance(x, Tensor):
        return ("tensor", x.groups, x.width)
    if isinstance(x, Constant):
        return ("constant", graph.constants[x.name].shape)
    return (str(x),)


class _Comparison:
    """Compares the layers operand by operand; raises _Different."""

    def __init__(
        self, graph: Graph, layouts: Mapping[str, Layout], start: int, period: int, count: int
    ) -> None:
        self.graph, self.layouts = graph, layouts
        self.start, self.period, self.count = start, period, count
        self.end = start + period * count
        self.index = {op.output.name: i for i, op in enumerate(graph.ops)}
        self.names: list[dict[str, str]] = [{} for _ in range(count)]
        self.carried: dict[int, Tensor] = {}  # place in a layer → what the first one reads instead

    def compare(self) -> None:
        """Operator by operator."""
        ops = self.graph.ops
        for place in range(self.period):
            each = [ops[self.start + k * self.period + place] for k in range(self.count)]
            if each[0].kind == "embed":
                raise _Different
            if len({self.layouts[op.output.name] for op in each}) > 1:
                raise _Different
            if each[0].kind == "attention":
                self._caches(each)
            for operands in zip(*(op.inputs for op in each), strict=True):
                self._operands(operands)

    def layers(self) -> Layers:
        """The layers, if they are alike."""
        self.compare()
        self._uses()
        ops = self.graph.ops
        carried = [(x, ops[self.start + q].output) for q, x in sorted(self.carried.items())]
        if any(self.layouts[x.name] != self.layouts[made.name] for x, made in carried):
            raise _Different
        first = self.end - self.period
        last = {ops[first + i].output.name: ops[self.start + i].output for i in range(self.period)}
        names = ({}, *self.names[1:])
        return Layers(self.start, self.period, self.count, names, tuple(carried), last)

    def _caches(self, each: Sequence[Op]) -> None:
        """Each layer has as many attentions, in the caches' order."""
        stretch = self.graph.ops[self.start : self.start + self.period]
        step = sum(op.kind == "attention" for op in stretch)
        numbers = [int(op.attributes["layer"]) for op in each]
        if numbers != [numbers[0] + k * step for k in range(self.count)]:
            raise _Different

    def _operands(self, operands: Sequence[Operand]) -> None:
        first = operands[0]
        if isinstance(first, Tensor):
            self._tensors([x for x in operands if isinstance(x, Tensor)])
        elif isinstance(first, Constant):
            self._constants(first.name, [x.name for x in operands if isinstance(x, Constant)])
        elif len(set(operands)) > 1:
            raise _Different

    def _tensors(self, tensors: Sequence[Tensor]) -> None:
        """Made in the same layer, in the one before, or before all layers."""
        places = [self.index[x.name] - self.start - k * self.period for k, x in enumerate(tensors)]
        if len({x.name for x in tensors}) == 1 and places[0] < 0:
            return
        place = places[1]
        if set(places[1:]) != {place} or not -self.period <= place < self.period:
            raise _Different
        if place >= 0:
            if places[0] != place:
                raise _Different
        elif (
            places[0] >= 0 or self.carried.setdefault(place + self.period, tensors[0]) != tensors[0]
        ):
            raise _Different

    def _constants(self, name: str, names: Sequence[str]) -> None:
        arrays = [self.graph.constants[other] for other in names]
        size = int(np.prod(arrays[0].shape, dtype=np.int64))
        if size == 1 and not all(same(array, arrays[0]) for array in arrays):
            raise _Different  # a number in the instruction
        if len(set(names)) == 1 and 4 * size >= LARGE_BYTES:
            raise _Different  # would be there once a layer
        for known, other in zip(self.names, names, strict=True):
            if known.setdefault(name, other) != other:
                raise _Different

    def _uses(self) -> None:
        """Nothing but the next layer and what follows the last one reads what changes."""
        ops, initial = self.graph.ops, {x.name for x in self.carried.values()}
        if len(initial) < len(self.carried):
            raise _Different
        inside = {op.output.name for op in ops[self.start : self.end]}
        if inside & {output.tensor.name for output in self.graph.outputs}:
            raise _Different
        followers = ops[self.start + self.period :]
        if initial & set(_names(followers)):
            raise _Different
        earlier = {op.output.name for op in ops[self.start : self.end - self.period]}
        if earlier & set(_names(ops[self.end :])):
            raise _Different


def _names(ops: Iterable[Op]) -> Iterable[str]:
    return (x.name for op in ops for x in op.inputs if isinstance(x, Tensor))
