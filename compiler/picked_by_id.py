"""A token that is picked by its id: CLIP's texts end with one of their own, classifiers read the
last one before the padding. The host, which has the ids, reads that token's row.

What decides is an ArgMax over something that is computed of the ids alone. It is run on random ids,
and what it finds is compared with what each rule of `isa.iomap` would.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np
import onnx

from compiler.contrib import attributes_of
from compiler.errors import CompileError
from compiler.evaluate_node import Nodes, results
from compiler.expand import LARGEST_KEPT
from compiler.graph import Rule
from compiler.importer_data import array_of
from compiler.importer_interface import IDS, PAST
from compiler.template import fill
from isa.iomap import BY_ID, picked_place

_MOST = 1 << 31  # of ids
_LENGTHS = (*range(1, 17),)  # of the ids that are tried: even ones of two numbers, odd ones of any


def replace_picks(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Rule | None]:
    """The model with such an index as that of the token in the middle, which `Sample.place` knows,
    and the rule by which it is another one. The model itself and None where there is none, where
    several differ, or where a launch has not all the ids: what they are made of is then refused."""
    graph = model.graph
    names = [value.name for value in graph.input]
    chosen = [node for node in graph.node if node.op_type == "ArgMax" and not node.domain]
    if not chosen or IDS[0] not in names or any(PAST.fullmatch(name) for name in names):
        return model, None
    stored = {t.name: t for t in graph.initializer if math.prod(t.dims) <= LARGEST_KEPT}
    nodes = Nodes(model.opset_import, model.ir_version)
    of_ids = _of_ids(graph, {IDS[0], *stored})
    found, before = dict[str, Rule](), set[str]()
    for node in chosen:
        if node.output[0] in of_ids:
            steps = _steps(node, list(of_ids.values()))
            if rule := _rule(steps, stored, nodes):
                found[node.output[0]] = rule
                before |= {step.output[0] for step in steps}
    if len(set(found.values())) != 1:
        return model, None
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    kept, used = list[onnx.NodeProto](), {value.name for value in graph.output}
    for node in reversed(graph.node):
        parts = _middle(node) if node.output[0] in found else [node]
        if node.output[0] not in before or not used.isdisjoint(node.output):
            kept += reversed(parts)
            used |= {name for part in parts for name in part.input}
    result.graph.node.extend(reversed(kept))
    return result, next(iter(found.values()))


def _of_ids(graph: onnx.GraphProto, known: set[str]) -> dict[str, onnx.NodeProto]:
    """By its output each node with one that needs nothing but the ``known`` names, ids and a few
    numbers each, and "" where an input is left out. Embeddings are more than a few."""
    found: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        plain = len(node.output) == 1 and not any(a.HasField("g") for a in node.attribute)
        few = all(math.prod(a.t.dims) <= LARGEST_KEPT for a in node.attribute)
        if plain and few and all(n in known or n in found or not n for n in node.input):
            found[node.output[0]] = node
    return found


def _steps(last: onnx.NodeProto, nodes: list[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """Those of the nodes, which are in order, that lead to the last one, with it."""
    found, needed = list[onnx.NodeProto](), set(last.output)
    for node in reversed(nodes):
        if node.output[0] in needed:
            found.append(node)
            needed |= set(node.input)
    return found[::-1]


def _rule(
    steps: list[onnx.NodeProto], stored: dict[str, onnx.TensorProto], nodes: Nodes
) -> Rule | None:
    """The only one that finds the same places."""
    needed = {name for node in steps for name in node.input}
    constants = {name: array_of(tensor) for name, tensor in stored.items() if name in needed}
    try:
        for node in steps:
            if node.op_type == "Constant":
                constants[node.output[0]] = nodes.run(node, [])[0]
    except CompileError:
        return None
    numbers = sorted({0, *_numbers(constants.values())})
    rules = [(pick, number) for pick in BY_ID for number in (numbers if "id" in pick else [0])]
    random = np.random.default_rng(0)
    for number in numbers:
        for length in _LENGTHS:
            some = random.integers(0, number + 20, 2 * length)
            other = random.choice(numbers) + random.integers(0, 3)
            ids = random.choice([[number, other], some][length % 2], (1, length))
            place = _place(steps, {**constants, IDS[0]: ids}, nodes)
            rules = [rule for rule in rules if picked_place(*rule, ids[0]) == place]
    return rules[0] if len(rules) == 1 and IDS[0] in needed else None


def _place(steps: list[onnx.NodeProto], known: dict[str, np.ndarray], nodes: Nodes) -> int:
    """What the last of the nodes finds; -1 where they cannot be run."""
    for node in steps:
        try:
            outputs = nodes.run(node, [known[name] for name in node.input if name])
        except CompileError:
            return -1
        known |= zip(results(node), outputs, strict=True)
    return int(known[steps[-1].output[0]].reshape(-1)[0])


def _numbers(arrays: Iterable[np.ndarray]) -> Iterator[int]:
    """Whole numbers that ids may be compared with."""
    for array in arrays:
        if array.size == 1 and array.dtype.kind in "iuf":
            value = float(array.reshape(-1)[0])
            if value.is_integer() and 0 <= value < _MOST:
                yield int(value)


def _middle(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The place of the middle token, of the shape that the node gives."""
    text = """one = Constant<value = int64[1] {1}>()  two = Constant<value = int64[1] {2}>()
        size = Shape(in0)  count = Gather<axis = 0>(size, one)  middle = Div(count, two)"""
    keeps = attributes_of(node).get("keepdims", 1)
    text += "  out0 = Unsqueeze(middle, one)" if keeps else "  out0 = Identity(middle)"
    ids = onnx.NodeProto()
    ids.CopyFrom(node)
    ids.input[:] = [IDS[0]]
    return fill(ids, text)
