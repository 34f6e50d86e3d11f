"""One token of all: what a classifier reads of an encoder, or the last logits of a prompt.

A chip's program computes every token; what follows the choice is computed for each of them, and the
host reads the row of the one that was meant.
"""

import numpy as np
import onnx

from compiler.canonical_context import Context, refuse
from compiler.evaluate_node import results
from compiler.graph import Tensor
from compiler.movement import Moved


def follow(context: Context, node: onnx.NodeProto) -> None:
    """What is computed from a picked token is that token's: to be called before the node is."""
    activations = [name for name in node.input if name and not context.is_known(name)]
    picks = {context.picked.get(name, "") for name in activations}
    if len(picks) > 1:
        refuse(node, "it joins one token with others: only products and sums of one of them work")
    pick = picks.pop() if picks else ""
    for name in results(node) if pick else []:
        context.picked[name] = pick


def recognise(context: Context, node: onnx.NodeProto) -> None:
    """Remember outputs of a moving node that are one token of a tensor: the first or the last."""
    for name in results(node):
        value = context.values.get(name)
        if isinstance(value, Moved) and isinstance(value.root, Tensor) and value.index is not None:
            known = context.picked_tensors.get(value.root.name)
            if pick := known or _pick(context, value, value.root.size):
                context.picked[name] = pick


def _pick(context: Context, value: Moved, size: int) -> str:
    """ "first" or "last", or what the context has for a token that is picked by its id, if it is
    that token's in every sample, [1, …], else nothing."""
    found = {"first", "last"} | ({context.rule[0]} if context.rule else set())
    for index, sample in zip(value.indices(), context.samples, strict=True):
        same_shape = index.shape == value.shapes[0] and index.shape[:1] == (1,)
        if not same_shape or not index.size:
            return ""
        places = np.abs(index)
        token = (int(places.min()) - 1) // size
        if token != (int(places.max()) - 1) // size:
            return ""
        found = {pick for pick in found if sample.place(pick) == token}
    return found.pop() if len(found) == 1 else ""
