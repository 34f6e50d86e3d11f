"""The cache that attention reads: past and new tokens, times a number, heads repeated."""

from dataclasses import replace

import numpy as np
import onnx

from compiler.attention_quantised import joined_on_grid
from compiler.canonical_context import Context, attribute, refuse
from compiler.canonical_operands import scalar
from compiler.evaluate_node import source_of
from compiler.movement import CacheRoot, Moved, Past


def append_to_cache(context: Context, node: onnx.NodeProto) -> bool:
    """Handle Concat(past, new) on the token axis; False if `node` is something else."""
    past = context.values.get(node.input[0])
    if not isinstance(past, Past):
        return False
    cache, part = past.cache, past.part
    axis = attribute(node, "axis") % 4
    if len(node.input) != 2 or axis != 2 or context.is_known(node.input[1]):
        refuse(node, "the cache must be the past and the new tokens, joined on axis 2")
    layout = context.layout(node.input[1], node)
    if layout.token_axis != 2 or layout.rest != (1, cache.heads, cache.width):
        refuse(node, f"new {part}s must be [1, {cache.heads}, tokens, {cache.width}]")
    root = CacheRoot(cache, part, context.tensor(node.input[1], node))
    if past.grid:
        root = joined_on_grid(context, node, root, past)
    context.values[node.output[0]] = Moved(root, context.shapes(node.output[0]), scale=past.scale)
    return True


def scale_cache(context: Context, node: onnx.NodeProto) -> None:
    """Mul or Div of moved keys by a number: remember it in the scale."""
    name, factor = factor_of(context, node)
    value = context.values[name]
    assert isinstance(value, Moved)
    sources = (*value.sources, source_of(node))
    moved = replace(value, scale=value.scale * factor, sources=sources)
    context.values[node.output[0]] = moved


def factor_of(context: Context, node: onnx.NodeProto) -> tuple[str, float]:
    """The activation and the number of a Mul or Div by a known scalar."""
    name, other = node.input
    if context.is_known(name) and node.op_type == "Mul":
        name, other = other, name
    factor = scalar(context, other)
    if context.is_known(name) or factor is None or factor == 0:
        refuse(node, "scores and caches can only be multiplied or divided by a number")
    return name, factor if node.op_type == "Mul" else 1.0 / factor


def check_heads(
    context: Context, node: onnx.NodeProto, moved: Moved, heads: int, transposed: bool
) -> None:
    """Check that head h of the moved cache is head h // (heads / cache heads) of the cache."""
    assert isinstance(moved.root, CacheRoot)
    cache = moved.root.cache
    if moved.root.zero:
        refuse(node, f"codes of {moved.root.part}s must be dequantised first")
    if heads % cache.heads:
        refuse(node, f"{heads} query heads must be a multiple of {cache.heads} key heads")
    shapes = context.shapes(node.output[0])
    for index, shape, sample in zip(moved.indices(), shapes, context.samples, strict=True):
        size = cache.heads, sample.total, cache.width
        order = np.arange(1, 1 + int(np.prod(size))).reshape(size)
        want = np.repeat(order, heads // cache.heads, axis=0)
        index = index.swapaxes(-1, -2) if transposed else index
        lead = shape[:-2]
        try:
            index = np.broadcast_to(index, (*lead, *index.shape[-2:]))
        except ValueError:
            index = np.zeros(0)
        if int(np.prod(lead)) != heads or index.size != want.size:
            refuse(node, f"{moved.root.part}s must have {heads} heads, one for each query head")
        if (index.reshape(heads, -1) != want.reshape(heads, -1)).any():
            refuse(node, f"its {moved.root.part}s are not the cache in order, heads repeated")
