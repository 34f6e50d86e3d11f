"""Attention sinks: a learned score of each head that takes part in the softmax and has no value.

Exporters write a Concat of the masked scores and the sinks, as one key more, perhaps the largest of
each row taken off, a Softmax, and a Slice that drops the sinks' column again.
"""

from dataclasses import dataclass, replace

import numpy as np
import onnx

from compiler.attention import BEFORE_SOFTMAX, Scores, softened
from compiler.canonical_context import Context, attribute, refuse
from compiler.evaluate_node import results


@dataclass(frozen=True)
class WithSinks:
    """Scores and a column of sinks, in front of or behind the keys; `stage`: "scores", their
    "maximum" in each row, "weights" behind the Softmax."""

    scores: Scores
    behind: bool
    stage: str = "scores"


def join(context: Context, node: onnx.NodeProto) -> bool:
    """Handle Concat of scores and sinks; False if it is something else."""
    found = [isinstance(context.values.get(name), Scores) for name in node.input]
    if node.op_type != "Concat" or sorted(found) != [False, True]:
        return False
    behind = found[0]
    scores, name = context.values[node.input[not behind]], node.input[behind]
    assert isinstance(scores, Scores)
    if not context.is_known(name) or scores.stage not in BEFORE_SOFTMAX or scores.zero:
        refuse(node, f"attention {scores.stage} can only be joined with sinks, a number a head")
    arrays, rank = context.known(name), len(context.shapes(node.output[0])[0])
    if attribute(node, "axis") % rank != rank - 1 or any(a.shape[-1] != 1 for a in arrays):
        refuse(node, "sinks must be one score more for each head and token, on the axis of keys")
    heads = [a.reshape(scores.q.groups, -1) for a in arrays]
    sinks = heads[0][:, 0]
    if any((rows != sinks[:, None]).any() for rows in heads) or not np.isfinite(sinks).all():
        refuse(node, "its sinks must be a finite number of each head, the same for all tokens")
    joined = scores.then(node, sinks=tuple(map(float, sinks)))
    context.values[node.output[0]] = WithSinks(joined, behind)
    return True


def follow(context: Context, node: onnx.NodeProto) -> None:
    """A node with such scores, their maxima or weights among its inputs."""
    values = [context.values.get(name) for name in node.input]
    value = next(v for v in values if isinstance(v, WithSinks))
    kind, out = node.op_type, node.output[0]
    if kind in ("Cast", "Identity", "Dropout"):
        context.values[out] = value
    elif kind == "ReduceMax" and value.stage == "scores" and _over_keys(context, node):
        context.values[out] = replace(value, stage="maximum")
    elif kind == "Sub" and values == [value, replace(value, stage="maximum")]:
        context.values[out] = value  # what a row has in common is nothing to a softmax
    elif kind == "Softmax" and value.stage == "scores":
        context.values[out] = replace(
            value, scores=softened(context, node, value.scores), stage="weights"
        )
    elif kind in ("Slice", "Split", "Gather") and value.stage == "weights":
        _drop(context, node, value)
    else:
        refuse(node, f"it cannot be applied to attention {value.stage} joined with sinks")


def _over_keys(context: Context, node: onnx.NodeProto) -> bool:
    """Whether a reduction is over the last axis, which stays."""
    axes = attribute(node, "axes")
    if len(node.input) > 1 and node.input[1]:
        axes = context.known(node.input[1])[0].tolist()
    rank = len(context.shapes(node.input[0])[0])
    return bool(attribute(node, "keepdims", 1)) and list(axes or []) in ([-1], [rank - 1])


def _drop(context: Context, node: onnx.NodeProto, value: WithSinks) -> None:
    """The weights of the keys alone; what is of the sinks alone is nothing that is used."""
    numbers = [context.known(name) for name in node.input[1:] if name]
    shapes, found = context.shapes(node.input[0]), list[list[bool]]()
    for index, sample in enumerate(context.samples):
        place = np.broadcast_to(np.arange(sample.total + 1), shapes[index])
        outputs = context.evaluator.run_node(node, [place, *(rows[index] for rows in numbers)])
        keys = np.arange(sample.total) + (not value.behind)
        wanted = (*shapes[index][:-1], sample.total)
        found.append([o.shape == wanted and bool((o == keys).all()) for o in outputs])
    kept = [all(each) for each in zip(*found, strict=True)]
    for name, is_kept in zip(results(node), kept, strict=True):
        if is_kept:
            context.values[name] = value.scores.then(node)
        elif len(kept) == 1:
            refuse(node, "it must drop the weights of attention's sinks and keep those of all keys")
