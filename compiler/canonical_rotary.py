"""Rotary positions: x cos + rotate(x) sin, the tables by position."""

from collections.abc import Sequence

import numpy as np
import onnx

from compiler.canonical_context import Context, attribute, refuse
from compiler.canonical_elementwise import Emitter
from compiler.canonical_operands import full_size, shuffled
from compiler.contrib import DOMAIN
from compiler.deferred import same
from compiler.evaluate_node import source_of
from compiler.evaluate_sample import Sample, Values
from compiler.graph import Tensor
from compiler.movement import FeatureMap, Moved


def rotated(
    context: Context,
    node: onnx.NodeProto,
    x: Tensor,
    tables: Sequence[np.ndarray],
    interleaved: bool = False,
) -> Tensor:
    """Pairs of each head's first features rotate: halves against each other, or neighbours;
    ``tables``: cosines and sines (max_context, pairs), by position."""
    pairs, emitter, name = tables[0].shape[1], Emitter(context, node), node.output[0]
    cos, sin = (
        context.add_table(f"{name}.{kind}", _widened(table, x.width, rest, interleaved))
        for kind, table, rest in zip(("cos", "sin"), tables, (1.0, 0.0), strict=True)
    )
    place = np.arange(x.width)
    turn = place ^ 1 if interleaved else (place + pairs) % max(1, 2 * pairs)
    first = place % 2 == 0 if interleaved else place < pairs
    position = np.where(place < 2 * pairs, turn, place)
    sign = np.where(first & (place < 2 * pairs), -1, 1)
    rows = np.arange(x.groups)[:, None] * x.width + position
    moved = FeatureMap(rows.reshape(-1), np.tile(sign, x.groups))
    value = Moved(x, (), sources=(source_of(node),))
    turned = context.features(value, moved, (x.groups, x.width), f"{name}.turned", node)
    return emitter.emit("add", emitter.emit("mul", x, cos), emitter.emit("mul", turned, sin))


def _widened(table: np.ndarray, width: int, rest: float, interleaved: bool) -> np.ndarray:
    """A number for each feature of a head, ``rest`` for those that do not rotate."""
    wide = np.repeat(table, 2, axis=1) if interleaved else np.tile(table, 2)
    return np.pad(wide, ((0, 0), (0, width - wide.shape[1])), constant_values=rest)


def rotary_embedding(context: Context, node: onnx.NodeProto) -> None:
    """RotaryEmbedding, ONNX's and onnxruntime's: positions are its last or its second input."""
    names = [*node.input, *[""] * 3][:4]
    if node.domain == DOMAIN:
        names = [names[0], *names[2:4], names[1]]
        if attribute(node, "is_packed_batching", 0) or attribute(node, "scale", 1.0) != 1.0:
            refuse(node, "it must have no packed batches, and scale 1")
    x, layout = context.tensor(node.input[0], node), context.layout(node.input[0], node)
    heads = attribute(node, "num_heads", 0) if layout.rank == 3 else x.groups
    if not heads or not layout.width_is_last or x.size % heads:
        refuse(node, "it must have num_heads, or heads on an axis of their own")
    width = x.size // heads
    pairs = (attribute(node, "rotary_embedding_dim", 0) or width) // 2
    x = context.view(x, (heads, width), node.output[0], (source_of(node),))
    tables = [_table(context, node, name, names[3], pairs) for name in names[1:3]]
    result = rotated(context, node, x, tables, bool(attribute(node, "interleaved", 0)))
    context.define(node.output[0], result, node)


def _table(
    context: Context, node: onnx.NodeProto, name: str, positions: str, pairs: int
) -> np.ndarray:
    """A row for each position, checked to be its function."""
    names = [name, positions] if positions else [name]
    if not all(context.is_known(each) for each in names):
        refuse(node, "its tables and positions must not depend on tokens")
    evaluator = context.evaluator

    def rows(run: Values) -> np.ndarray:
        table = evaluator.known(name, run)
        try:
            found = table[evaluator.known(positions, run)[0]] if positions else table[0]
        except IndexError as error:
            refuse(node, f'"{name}" has no row for some positions: {error}')
        return np.asarray(found.astype(np.float32))

    full = rows(evaluator.run(Sample(full_size(context), 0), names))
    if full.ndim != 2 or len(full) != full_size(context):
        refuse(node, f'"{name}" must have a row for each token')
    cases = list(zip(context.samples, context.runs, strict=True))
    if evaluator.interface.positions:
        cases.append((shuffled(context), evaluator.run(shuffled(context), names)))
    for sample, run in cases:
        wanted = full[sample.position_array()[0]]
        if wanted.shape[1] != pairs or not same(rows(run), wanted):
            refuse(node, f'"{name}" must give {pairs} numbers, by the position alone')
    return full[: context.max_context]
