"""QuantizeLinear and DequantizeLinear inside attention: of moved keys and values, of scores, and of
the softmax's weights.

Rounding acts on each number alone, so it may come before keys and values are joined with the past,
repeated or transposed: the cache keeps the whole numbers, which bf16 holds exactly, and their scale
goes into that of the scores, or behind the product with the values. Scores and weights are rounded
where they are made, the softmax after its division.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx

from compiler.canonical_context import Context, refuse
from compiler.canonical_quantise import (
    Codes,
    coded,
    codes_of,
    dequantised,
    parameters,
    rounded,
)
from compiler.evaluate_node import source_of
from compiler.graph import Grid, Scalar, Tensor
from compiler.movement import CacheRoot, Moved, Past
from compiler.whole_numbers import factored, whole_range

if TYPE_CHECKING:
    from compiler.attention import Scores

BOTH = ("QuantizeLinear", "DequantizeLinear")


def quantise_moved(context: Context, node: onnx.NodeProto) -> None:
    """One of BOTH, of the cache or of repeated heads: on what was moved instead."""
    value = context.values[node.input[0]]
    assert isinstance(value, Moved)
    root = value.root
    if isinstance(root, CacheRoot):
        root, scale = _of_cache(context, node, root, value)
    elif node.op_type == BOTH[0]:
        _check_signs(value, node)
        x, scale = _scaled(context, node, root, value), 1.0
        root = coded(context, node, x, _codes(context, node))
    else:
        root, scale = dequantised(context, node, root, *parameters(context, node)), 1.0
    moved = replace(value, root=root, scale=scale, sources=(*value.sources, source_of(node)))
    context.values[node.output[0]] = moved


def quantise_past(context: Context, node: onnx.NodeProto) -> None:
    """One of BOTH, of past keys or values alone: those of the host become whole numbers."""
    past = context.values[node.input[0]]
    assert isinstance(past, Past)
    if node.op_type == BOTH[0]:
        codes = _codes(context, node)
        if past.grid:
            refuse(node, f"past {past.part}s are quantised twice")
        past = replace(past, grid=_grid(codes), zero=float(codes.zero[0, 0]))
    else:
        step = _step(context, node, past.zero)
        if past.grid is None or step != past.grid.scale:
            refuse(node, f"its scale must be that by which past {past.part}s were quantised")
        past = replace(past, zero=0.0, scale=step)
    context.values[node.output[0]] = past


def joined_on_grid(
    context: Context, node: onnx.NodeProto, root: CacheRoot, past: Past
) -> CacheRoot:
    """The cache of a quantised past and new tokens: these must be on the same grid."""
    assert past.grid is not None
    whole, scale = factored(context, root.new) or (root.new, 0.0)
    low, high = whole_range(context.ops, whole) or (past.grid.low - 1, 0)
    inside = past.grid.low <= low and high <= past.grid.high
    if past.zero or np.float32(scale) != np.float32(past.scale) or not inside:
        refuse(node, f"past and new {root.part}s must be quantised alike, and dequantised")
    return replace(root, new=whole, grids=(past.grid,))


def _of_cache(
    context: Context, node: onnx.NodeProto, root: CacheRoot, value: Moved
) -> tuple[CacheRoot, float]:
    """The root behind one of BOTH, and what its numbers are multiplied with."""
    if node.op_type == BOTH[1]:
        step = _step(context, node, root.zero)
        if not root.grids or step != root.step:
            refuse(node, f"its scale must be that by which {root.part}s were quantised")
        return replace(root, zero=0.0, step=1.0), step
    codes = _codes(context, node)
    grid, zero = _grid(codes), float(codes.zero[0, 0])
    _check_signs(value, node)
    if root.zero or root.step != 1:
        refuse(node, f"codes of {root.part}s are quantised")
    root = replace(root, zero=zero, step=grid.scale)
    if root.grids and grid == replace(root.grids[-1], scale=value.scale):
        return root, 1.0  # they are what they were
    new = rounded(context, node, _scaled(context, node, root.new, value), codes.quantiser)
    # Of the cache's own numbers, which have been multiplied since the last grid.
    before = root.grids[-1].scale if root.grids else 1.0
    grid = replace(grid, scale=grid.scale * before / value.scale)
    return replace(root, new=new, grids=(*root.grids, grid)), 1.0


def _scaled(context: Context, node: onnx.NodeProto, x: Tensor, value: Moved) -> Tensor:
    if value.scale == 1:
        return x
    sources = (*value.sources, source_of(node))
    return context.emit(
        "mul", (x, Scalar(value.scale)), (x.groups, x.width), node.output[0], sources
    )


def quantise_scores(context: Context, node: onnx.NodeProto, scores: "Scores") -> "Scores":
    """One of BOTH, of scores before masks and Softmax, or of the softmax's weights."""
    of_weights = scores.stage == "weights"
    if node.op_type == BOTH[1]:
        step = _step(context, node, scores.zero)
        if not (scores.weight_grid if of_weights else scores.grids):
            refuse(node, "it has no codes")
        if of_weights:
            return scores.then(node, zero=0.0, weight_factor=step * scores.weight_factor)
        return scores.then(node, zero=0.0, grids=times(scores.grids, step))
    if scores.stage == "capped" or scores.zero or (scores.masks and not of_weights):
        refuse(node, "scores can be quantised before they are capped or masked, not after that")
    codes = _codes(context, node)
    zero, grid = float(codes.zero[0, 0]), _grid(codes)
    if not of_weights:
        return scores.then(node, zero=zero, grids=(*scores.grids, (grid, 1.0)))
    if scores.weight_grid:
        refuse(node, "the weights of attention are quantised twice")
    return scores.then(node, zero=zero, weight_grid=grid)


def times(grids: tuple[tuple[Grid, float], ...], factor: float) -> tuple[tuple[Grid, float], ...]:
    """What is multiplied behind the last of them."""
    return (*grids[:-1], (grids[-1][0], factor * grids[-1][1]))


def _grid(codes: Codes) -> Grid:
    return Grid(float(codes.quantiser.scale[0, 0]), *codes.quantiser.range)


def _codes(context: Context, node: onnx.NodeProto) -> Codes:
    codes = codes_of(context, node)
    if codes.zero.size != 1:
        refuse(node, "in attention it must have one scale")
    return codes


def _step(context: Context, node: onnx.NodeProto, wanted: float) -> float:
    """The scale of a DequantizeLinear whose zero point is that of the codes."""
    scale, zero = parameters(context, node)
    if scale.size != 1:
        refuse(node, "in attention it must have one scale")
    if zero[0, 0] != wanted:
        refuse(node, f"its zero point must be {wanted:g}, that of the codes, not {zero[0, 0]:g}")
    return float(scale[0, 0])


def _check_signs(value: Moved, node: onnx.NodeProto) -> None:
    if any((index < 0).any() for index in value.indices()):
        refuse(node, "negated keys or values are quantised: quantise them before")
