"""Attention of one learned query, as SigLIP pools its tokens: every token asks the same question.

Each token computes the answer, from keys and values of all; the host reads the first one's.
"""

import numpy as np
import onnx

from compiler.attention import Scores
from compiler.attention_uncached import new_heads
from compiler.canonical_context import Context, refuse
from compiler.evaluate_node import source_of
from compiler.graph import Scalar
from compiler.movement import CacheRoot, Moved
from compiler.whole_numbers import factored


def start_probe(context: Context, node: onnx.NodeProto) -> bool:
    """MatMul(known queries (heads, 1, width), keys of all tokens, transposed): starts scores; False
    if it is something else."""
    name, moved = node.input[0], context.values.get(node.input[1])
    if context.evaluator.interface.caches or not context.is_known(name):
        return False
    if not isinstance(moved, Moved) or isinstance(moved.root, CacheRoot):
        return False
    shapes = context.shapes(node.output[0])
    ends = [(1, sample.new) for sample in context.samples]
    if [shape[-2:] for shape in shapes] != ends:
        return False
    probes = context.known(name)
    if any(not np.array_equal(probe, probes[0]) for probe in probes):
        refuse(node, "the only query must be the same for any number of tokens")
    heads = int(np.prod(shapes[0][:-2], dtype=np.int64))
    new = new_heads(context, node, moved, heads, transposed=True)
    new, of_keys = factored(context, new) or (new, 1.0)
    if probes[0].size != new.size:
        refuse(node, f"the only query must have {new.groups} heads, as many as keys have")
    size, out, sources = (new.groups, new.width), node.output[0], (source_of(node),)
    nothing = context.emit("mul", (new, Scalar(0.0)), size, f"{out}.nothing", sources)
    probe = context.add_constant(f"{out}.probe", probes[0].reshape(size))
    q = context.emit("add", (nothing, probe), size, f"{out}.queries", sources)
    keys = CacheRoot(context.add_cache(*size), "key", new)
    joined = tuple(dict.fromkeys((*moved.sources, *sources)))
    context.values[out] = Scores(q, keys, moved.scale * of_keys, joined, probe=True)
    return True
