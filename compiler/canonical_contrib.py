"""onnxruntime's operators (`compiler.contrib`) in terms of the canonical ones."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import onnx

from compiler.canonical_context import Context, attribute, refuse
from compiler.canonical_rotary import rotated
from compiler.canonical_select import select
from compiler.contrib import integer
from compiler.evaluate_node import source_of
from compiler.graph import Operand, Source, Tensor
from compiler.movement import CacheRoot, Moved, Past

# Inputs of GroupQueryAttention.
_QUERY, _KEY, _VALUE, _PAST_KEY, _PAST_VALUE, _LAST, _TOTAL, _COS, _SIN = range(9)
_SINKS = 11


def group_query_attention(context: Context, node: onnx.NodeProto) -> None:
    """GroupQueryAttention: keys and values are appended, rotary positions are applied by tables."""
    names = [*node.input, *[""] * 14]
    if any(names[_SIN + 1 : _SINKS] + names[_SINKS + 1 :]):
        refuse(node, "it must have no position ids, bias or scales of its cache")
    key_past, value_past = (context.values.get(names[i]) for i in (_PAST_KEY, _PAST_VALUE))
    if not isinstance(key_past, Past) or not isinstance(value_past, Past):
        refuse(node, "it must append to past keys and values of the graph's inputs")
    _check_lengths(context, node, names)
    heads, width = integer(node, "num_heads"), key_past.cache.width
    q, k, v = _parts(context, node, heads, key_past.cache.heads, width)
    if attribute(node, "do_rotary", 0):
        tables = [_table(context, node, names[i], width) for i in (_COS, _SIN)]
        interleaved = bool(attribute(node, "rotary_interleaved", 0))
        q, k = (rotated(context, node, x, tables, interleaved) for x in (q, k))
    for index, past, new in ((1, key_past, k), (2, value_past, v)):
        root = CacheRoot(past.cache, past.part, new)
        out = node.output[index]
        context.values[out] = Moved(root, context.shapes(out))
    layer = context.caches.index(key_past.cache)
    scale = attribute(node, "scale", 0.0) or width**-0.5
    window = attribute(node, "local_window_size", -1)  # tokens, itself among them
    attributes = {
        "scale": scale,
        "layer": layer,
        "behind": window - 1 if window > 0 else -1,
        "ahead": 0,
        "softcap": attribute(node, "softcap", 0.0),
    }
    out, size = node.output[0], (heads, width)
    inputs: list[Operand] = [q, k, v]
    if names[_SINKS] or attribute(node, "smooth_softmax", 0) == 1:
        sinks = _sinks(context, node, names[_SINKS], heads)
        inputs.append(context.add_constant(f"{out}.sinks", sinks))
        attributes |= {"sinks": True}
    result = context.emit("attention", inputs, size, out, _sources(node), attributes)
    context.define(out, result, node)


def _sources(node: onnx.NodeProto) -> Sequence[Source]:
    return (source_of(node),)


def _check_lengths(context: Context, node: onnx.NodeProto, names: Sequence[str]) -> None:
    """It counts valid tokens by the mask: all of them, here."""
    for name, behind in ((names[_LAST], 1), (names[_TOTAL], 0)):
        if not context.is_known(name) or any(
            (array != sample.total - behind).any()
            for array, sample in zip(context.known(name), context.samples, strict=True)
        ):
            refuse(node, f'"{name}" must be the number of tokens{" - 1" * behind}, of all of them')


def _parts(
    context: Context, node: onnx.NodeProto, heads: int, kv_heads: int, width: int
) -> list[Tensor]:
    """Queries, keys and values as (heads, width), from one product or three."""
    counts = heads, kv_heads, kv_heads
    if node.input[_KEY]:
        parts = [context.tensor(name, node) for name in node.input[: _VALUE + 1]]
    else:
        whole, parts = context.tensor(node.input[_QUERY], node), []
        ends = np.cumsum([0, *counts]) * width
        for start, end in pairwise(ends):
            part = select(context, whole, np.arange(start, end), _sources(node))
            if part is None:
                refuse(node, "queries, keys and values must be a product's, or three inputs")
            parts.append(part)
    sized = zip(parts, counts, strict=True)
    return [context.view(x, (n, width), node.output[0], _sources(node)) for x, n in sized]


def _sinks(context: Context, node: onnx.NodeProto, name: str, heads: int) -> np.ndarray:
    """A score of each head, (heads, 1); a smooth softmax has those of zeros."""
    if not name:
        return np.zeros((heads, 1), np.float32)
    if not context.is_known(name) or name in context.evaluator.varying:
        refuse(node, f'its sinks "{name}" must be constant')
    sinks = context.evaluator.constant(name)
    if sinks.shape != (heads,) or not np.isfinite(sinks).all():
        refuse(node, f'its sinks "{name}" must be {heads} finite numbers, one for each head')
    return sinks.reshape(heads, 1)


def _table(context: Context, node: onnx.NodeProto, name: str, width: int) -> np.ndarray:
    """A row of cosines or sines for each position."""
    if name in context.evaluator.varying:
        refuse(node, f'the table "{name}" must be constant')
    table = context.evaluator.constant(name)
    if table.ndim != 2 or table.shape[1] * 2 > width:
        refuse(node, f'the table "{name}" must have pairs of {width} features, not {table.shape}')
    if len(table) < context.max_context:
        refuse(node, f'the table "{name}" has {len(table)} positions, not {context.max_context}')
    return table[: context.max_context].astype(np.float32)
