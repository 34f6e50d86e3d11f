"""The mean over tokens, as encoders are pooled: attention that looks at all of them alike.

Queries and keys of zeros give every key the same weight, and keys that are left out a score that
leaves no weight. Every token computes the mean; the host reads the first one's.
"""

import numpy as np
import onnx

from compiler.attention_masks import FORBIDDEN
from compiler.canonical_context import Context, attribute, refuse
from compiler.canonical_elementwise import Emitter
from compiler.graph import Operand, Scalar, Tensor
from compiler.movement import Moved


def mean_of_tokens(context: Context, node: onnx.NodeProto) -> bool:
    """ReduceMean over the tokens of [1, tokens, features], all or from one on; False if it is
    something else."""
    value, name = context.values.get(node.input[0]), node.input[0]
    axes = attribute(node, "axes")
    if len(node.input) > 1 and node.input[1]:
        axes = context.known(node.input[1])[0].tolist()
    shape = context.shapes(name)[0]
    if context.evaluator.interface.caches or len(shape) != 3 or list(axes or []) not in ([1], [-2]):
        return False
    if not isinstance(value, Moved) or not isinstance(value.root, Tensor) or not context.caches:
        return False
    seen, (cache, *_) = _tokens(context, value), context.caches
    size = cache.heads, cache.width
    if seen is None or cache.heads * cache.width != value.root.size or name in context.picked:
        refuse(node, f"it must average whole tokens of {cache.heads * cache.width} features")
    emitter, out = Emitter(context, node), node.output[0]
    # Products with ones lay the features out as heads, and back; the cache rounds them anyway.
    whole = context.view(value.root, (1, value.root.size), f"{out}.tokens", emitter.sources)
    ones = context.add_constant(f"ones {whole.size}", np.eye(whole.size))
    copied = emitter.emit("linear", whole, ones)
    values = context.view(copied, size, f"{out}.heads", emitter.sources)
    nothing = emitter.emit("mul", values, Scalar(0.0))
    inputs: list[Operand] = [nothing, nothing, values]
    if not seen.all():
        scores = np.where(seen, np.float32(0), np.float32(FORBIDDEN))
        rows = np.broadcast_to(scores, (cache.heads, context.max_context))
        inputs.append(context.add_constant(f"{out}.left out", rows))
    layer = len(context.caches)
    context.add_cache(*size)
    attributes = {"scale": 1.0, "layer": layer, "behind": -1, "ahead": -1, "softcap": 0.0}
    mean = context.emit("attention", inputs, size, out, emitter.sources, attributes)
    joined = context.view(mean, (1, whole.size), f"{out}.mean", emitter.sources)
    result = emitter.emit("linear", joined, ones)
    context.picked[out] = "first"
    context.define(out, result, node)
    return True


def _tokens(context: Context, value: Moved) -> np.ndarray | None:
    """Which tokens it holds, of max_context: each once, whole, the same in every sample."""
    assert isinstance(value.root, Tensor)
    size, found = value.root.size, []
    for index, sample in zip(value.indices(), context.samples, strict=True):
        rows = index[0]
        tokens = (np.abs(rows[:, 0]) - 1) // size
        whole = tokens[:, None] * size + 1 + np.arange(size)
        if rows.shape[1] != size or (rows != whole).any() or len(set(tokens)) != len(tokens):
            return None
        seen = np.ones(context.max_context, bool)
        seen[: sample.new] = np.isin(np.arange(sample.new), tokens)
        found.append((seen, sample.new))
    longest, _ = max(found, key=lambda each: each[1])
    alike = all((seen[:new] == longest[:new]).all() for seen, new in found)
    return longest if alike else None
