"""Attention, recognised by what it computes: scores of all keys, a mask, a Softmax.

The cache is a Concat of a past input and new tokens. A MatMul of a tensor with moved keys starts
`Scores`; scalars multiply its scale, a Tanh caps it, known masks are kept until the Softmax and
then evaluated at several sizes (`compiler.attention_masks`). A MatMul with moved values ends it.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx

from compiler.attention_cache import check_heads, factor_of
from compiler.attention_masks import EVERYTHING, FORBIDDEN, Mask, Visibility, visibility
from compiler.attention_quantised import BOTH, quantise_scores, times
from compiler.attention_uncached import new_heads
from compiler.canonical_context import Context, attribute, refuse
from compiler.canonical_operands import scalar
from compiler.evaluate_node import results, source_of
from compiler.graph import Cache, Grid, Operand, Scalar, Source, Tensor
from compiler.movement import CacheRoot, FeatureMap, Moved
from compiler.whole_numbers import factored

BEFORE_SOFTMAX = ("scores", "capped")


@dataclass(frozen=True)
class Scores:
    """scale · q Kᵀ of one layer, (heads, S, T) in any leading axes; `stage` tells how far it is."""

    q: Tensor
    key: CacheRoot
    scale: float
    sources: tuple[Source, ...]
    masks: tuple[Mask, ...] = ()
    stage: str = "scores"  # perhaps "capped", then "weights"; "nan" is IsNaN(weights)
    capped: float = 0.0  # what tanh(scale · q Kᵀ) is multiplied with, if there is a Tanh
    seen: Visibility = EVERYTHING  # known from the Softmax on
    # Quantised: scale · q Kᵀ becomes whole numbers of each grid, times its factor; so do weights.
    # A zero point may still be in.
    grids: tuple[tuple[Grid, float], ...] = ()
    weight_grid: Grid | None = None
    weight_factor: float = 1.0
    zero: float = 0.0
    sinks: tuple[float, ...] = ()  # of each head, one more score in the softmax's sum
    probe: bool = False  # the query is one for all tokens: (heads, 1, T)

    def then(self, node: onnx.NodeProto, **changes: Any) -> "Scores":
        """The scores after one more node."""
        return replace(self, sources=(*self.sources, source_of(node)), **changes)


def start_scores(context: Context, node: onnx.NodeProto) -> None:
    """MatMul(q, Kᵀ): check that the moved keys are the cache, each head repeated in order."""
    if context.is_known(node.input[0]):
        refuse(node, "keys must be multiplied by queries of tokens")
    moved = context.values[node.input[1]]
    assert isinstance(moved, Moved)
    q, layout = context.tensor(node.input[0], node), context.layout(node.input[0], node)
    part = moved.root.part if isinstance(moved.root, CacheRoot) else "key"
    if part != "key" or layout.token_axis != layout.rank - 2:
        refuse(node, "scores must be queries [heads, tokens, width] times transposed keys")
    if isinstance(moved.root, CacheRoot):
        check_heads(context, node, moved, q.groups, transposed=True)
        keys = moved.root
    else:
        new = new_heads(context, node, moved, q.groups, transposed=True)
        new, of_keys = factored(context, new) or (new, 1.0)
        keys = CacheRoot(context.add_cache(new.groups, new.width), "key", new)
        moved = replace(moved, scale=moved.scale * of_keys)
    q, scale, sources = _peel_scale(context, q)
    sources = (*sources, *moved.sources, source_of(node))
    scores = Scores(q, keys, scale * moved.scale, tuple(dict.fromkeys(sources)))
    context.values[node.output[0]] = scores


def _peel_scale(context: Context, q: Tensor) -> tuple[Tensor, float, tuple[Source, ...]]:
    """Take multiplications by numbers off the queries, into the scale."""
    scale, sources = 1.0, tuple[Source, ...]()
    while (op := context.ops.get(q.name)) and op.kind == "mul" and isinstance(op.inputs[1], Scalar):
        first = op.inputs[0]
        assert isinstance(first, Tensor)
        q, scale, sources = first, scale * op.inputs[1].value, (*op.sources, *sources)
    return q, scale, sources


def continue_scores(context: Context, node: onnx.NodeProto) -> None:
    """A node with scores, attention weights or their IsNaN among its inputs."""
    value = next(v for n in node.input if isinstance(v := context.values.get(n), Scores))
    kind, out = node.op_type, node.output[0]
    if kind in BOTH and value.stage != "nan":
        context.values[out] = quantise_scores(context, node, value)
    elif value.zero and not _keeps_order(context, node, value):
        refuse(node, f"codes of attention {value.stage} must be dequantised first")
    elif value.stage in BEFORE_SOFTMAX and kind in ("Mul", "Div"):
        context.values[out] = _multiplied(context, node, value)
    elif value.stage == "scores" and kind == "Tanh" and not (value.masks or value.grids):
        context.values[out] = value.then(node, stage="capped", capped=1.0)
    elif value.stage in BEFORE_SOFTMAX and kind in ("Add", "Where"):
        mask = _mask(context, node)
        context.values[out] = value.then(node, masks=(*value.masks, mask))
    elif value.stage in BEFORE_SOFTMAX and kind == "Softmax":
        context.values[out] = softened(context, node, value)
    elif value.stage == "weights" and kind == "IsNaN":
        context.values[out] = replace(value, stage="nan")
    elif kind == "Where" and _replaces_nan(context, node):
        context.values[out] = context.values[node.input[2]]
    elif value.stage == "weights" and kind == "MatMul":
        _finish(context, node, value)
    elif kind == "Max" and value.stage in BEFORE_SOFTMAX and _is_low(context, node):
        context.values[out] = value
    elif kind in ("Cast", "Identity", "Dropout") or _keeps_order(context, node, value):
        for name in results(node):
            context.values[name] = value
    else:
        refuse(node, f"it cannot be applied to attention {value.stage}")


def softened(context: Context, node: onnx.NodeProto, scores: Scores) -> Scores:
    """The weights that the Softmax `node` makes of scores."""
    shape = context.shapes(node.output[0])[0]
    if attribute(node, "axis", -1) % len(shape) != len(shape) - 1:
        refuse(node, "the Softmax of attention must be over the keys, its last axis")
    seen = visibility(context, node, scores.masks, scores.q.groups)
    if scores.sinks and (seen.bias is not None or seen.table is not None):
        refuse(node, "beside attention sinks there can only be a causal mask or a window")
    return scores.then(node, stage="weights", seen=seen)


def _is_low(context: Context, node: onnx.NodeProto) -> bool:
    """Whether it is a maximum of scores and a number that forbids, too."""
    numbers = [scalar(context, name) for name in node.input]
    return len(numbers) == 2 and any(n is not None and n <= FORBIDDEN for n in numbers)


def _keeps_order(context: Context, node: onnx.NodeProto, scores: Scores) -> bool:
    """Whether only the axes before (tokens, keys) are written in another way."""
    if node.op_type not in ("Flatten", "Reshape", "Squeeze", "Unsqueeze"):
        return False
    shapes = zip(context.shapes(node.output[0]), context.samples, strict=True)
    size = scores.q.groups
    return all(
        len(s) > 1
        and s[-2:] == (1 if scores.probe else x.new, x.total)
        and int(np.prod(s[:-2])) == size
        for s, x in shapes
    )


def _multiplied(context: Context, node: onnx.NodeProto, scores: Scores) -> Scores:
    """Scores times a number, and what has been added to them so far."""
    factor = factor_of(context, node)[1]
    if scores.masks and factor < 0:
        refuse(node, f"masked scores must be multiplied by a positive number, not {factor}")
    masks = tuple(replace(mask, factor=mask.factor * factor) for mask in scores.masks)
    if scores.stage == "capped":
        return scores.then(node, capped=scores.capped * factor, masks=masks)
    if scores.grids:
        return scores.then(node, grids=times(scores.grids, factor), masks=masks)
    return scores.then(node, scale=scores.scale * factor, masks=masks)


def _mask(context: Context, node: onnx.NodeProto) -> Mask:
    """The known mask of Add(scores, mask) or Where(condition, scores, -inf), either way round."""
    form, name, kept = "additive", node.input[0], 1
    if node.op_type == "Add":
        if not context.is_known(name):
            name, kept = node.input[1], 0
    else:
        form, kept = ("drop", 2) if context.is_known(node.input[1]) else ("keep", 1)
        filler = scalar(context, node.input[3 - kept])
        if filler is None or filler > FORBIDDEN:
            refuse(node, f"forbidden scores must become {FORBIDDEN} or less, not {filler}")
    if not context.is_known(name) or context.is_known(node.input[kept]):
        refuse(node, "scores can only be masked by what depends on positions and attention_mask")
    return Mask(name, form)


def _replaces_nan(context: Context, node: onnx.NodeProto) -> bool:
    """Whether it is Where(IsNaN(w), 0, w), or a known condition instead, for rows without a key: w
    itself, as no row of a causal mask is empty.

    Left out: where q or k are NaN, the exporter's weights are 0, here they stay NaN.
    """
    flag, weights = context.values.get(node.input[0]), context.values.get(node.input[2])
    if context.is_known(node.input[0]) and isinstance(weights, Scores):
        empty = any(array.any() for array in context.known(node.input[0]))
        return weights.stage == "weights" and not empty and scalar(context, node.input[1]) == 0
    if not isinstance(flag, Scores) or not isinstance(weights, Scores):
        return False
    same = flag.stage == "nan" and replace(flag, stage="weights") == weights
    return same and scalar(context, node.input[1]) == 0


def _finish(context: Context, node: onnx.NodeProto, weights: Scores) -> None:
    """MatMul(weights, V): emit the operator, (heads, width) per token."""
    moved, q, key = context.values.get(node.input[1]), weights.q, weights.key
    hidden = not context.evaluator.interface.caches
    if not isinstance(moved, Moved) or isinstance(moved.root, CacheRoot) == hidden:
        refuse(node, "attention weights must be multiplied by the values of the cache")
    if hidden:
        key = _own_cache(context, key)
        new = new_heads(context, node, moved, q.groups, False)
        new, of_values = factored(context, new) or (new, 1.0)
        moved = replace(moved, scale=moved.scale * of_values)
        if key.cache.heads % new.groups or new.width > key.cache.width:
            refuse(node, "values must have as many heads as keys, no wider than theirs")
        width, new = new.width, _fitted(context, node, new, key.cache)
        value = CacheRoot(key.cache, "value", new)
    else:
        assert isinstance(moved.root, CacheRoot)
        value, width = moved.root, moved.root.cache.width
        check_heads(context, node, moved, q.groups, transposed=False)
    if value.part != "value" or value.cache != key.cache:
        refuse(node, f"it must use the values of the cache of layer {key.cache.layer}")
    sources = dict.fromkeys((*weights.sources, *moved.sources, source_of(node)))
    seen = weights.seen
    inputs: list[Operand] = [q, key.new, value.new]
    layer = next(i for i, c in enumerate(context.caches) if c.layer == key.cache.layer)
    cache = context.caches[layer]
    context.caches[layer] = replace(cache, key_grids=key.grids, value_grids=value.grids)
    attributes: dict[str, Any] = {
        "scale": weights.scale * (weights.capped or 1.0),
        "layer": layer,
        "behind": seen.behind,
        "ahead": seen.ahead,
        "softcap": abs(weights.capped),
    }
    if weights.grids:
        attributes |= {"score_grids": weights.grids}
    if weights.weight_grid:
        if weights.sinks:
            refuse(node, "weights of attention with sinks cannot be quantised")
        attributes |= {"weight_grid": weights.weight_grid}
    name = f"{node.output[0]}.bias"
    if seen.bias is not None:
        rows = np.broadcast_to(seen.bias, (q.groups, context.max_context))
        inputs.append(context.add_constant(name, rows))
    for head, table in enumerate(seen.table if seen.table is not None else ()):
        inputs.append(context.add_table(f"{name}.{head}", table))
    if weights.sinks:
        rows = np.array(weights.sinks, np.float32)[:, None]
        inputs.append(context.add_constant(f"{node.output[0]}.sinks", rows))
        attributes |= {"sinks": True}
    size = q.groups, value.cache.width
    out = node.output[0]
    result = context.emit("attention", inputs, size, out, tuple(sources), attributes)
    if (factor := weights.weight_factor * moved.scale) != 1:
        result = context.emit("mul", (result, Scalar(factor)), size, out, (source_of(node),))
    if width < value.cache.width:
        result = context.emit(
            "arrange", (result,), (q.groups, width), out, (source_of(node),), _first(width, width)
        )
    if weights.probe:
        context.picked[out] = "first"
    context.define(out, result, node)


def _own_cache(context: Context, key: CacheRoot) -> CacheRoot:
    """Of weights that meet several values, the second product has a cache of its own."""
    used = {op.attributes["layer"] for op in context.ops.values() if op.kind == "attention"}
    if key.cache.layer not in {context.caches[layer].layer for layer in used}:
        return key
    return replace(key, cache=context.add_cache(key.cache.heads, key.cache.width))


def _fitted(context: Context, node: onnx.NodeProto, values: Tensor, cache: Cache) -> Tensor:
    """Values like keys: heads that keys do not share are repeated, each is as wide."""
    sources, name = (source_of(node),), values.name
    if values.groups < cache.heads:
        each = np.arange(values.size).reshape(values.groups, -1)
        order = np.repeat(each, cache.heads // values.groups, axis=0).reshape(-1)
        features, size = FeatureMap(order, np.ones_like(order)), (cache.heads, values.width)
        moved = Moved(values, (), sources=sources)
        values = context.features(moved, features, size, f"{name}.repeated", node)
    if values.width < cache.width:
        size, columns = (values.groups, cache.width), _first(values.width, cache.width)
        return context.emit("arrange", (values,), size, f"{name}.wide", sources, columns)
    return values


def _first(count: int, width: int) -> dict[str, tuple[int, ...]]:
    """An `arrange` of the first features of each group; up to the width the first one again."""
    position = (*range(count), *(0,) * (width - count))
    return {"source": (0,) * width, "position": position, "signs": (1,) * width}
