"""Randomly damaged decoders: each is refused in one line, or still agrees with onnxruntime."""

import random

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from compiler.canonical import SUPPORTED, canonicalise
from compiler.errors import CompileError
from compiler.graph import Graph
from compiler.importer import load_model
from tests.compiler.decoder import VOCABULARY, decoder, feeds, past_of
from tests.compiler.interpret import interpret
from tests.compiler.models import model_path

OPERATORS = sorted(SUPPORTED | {"Shape", "Cos", "Not", "And", "Less"})


def mutate(model: onnx.ModelProto, dice: random.Random) -> str:
    """Change one node's operator, one of its inputs or the order of its inputs."""
    nodes = list(model.graph.node)
    at = dice.randrange(len(nodes))
    node, change = nodes[at], dice.choice(["operator", "input", "order"])
    if change == "operator":
        node.op_type = dice.choice(OPERATORS)
    elif change == "input":
        earlier = [name for other in nodes[:at] for name in other.output]
        names = earlier + [value.name for value in model.graph.input]
        node.input[dice.randrange(len(node.input))] = dice.choice(names)
    else:
        shuffled = dice.sample(list(node.input), len(node.input))
        del node.input[:]
        node.input.extend(shuffled)
    return f"{change}: {node.op_type} {list(node.input)} -> {list(node.output)}"


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession | None:
    """The model in onnxruntime, as written; None if it is no valid model."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        onnx.checker.check_model(model)
        return onnxruntime.InferenceSession(model.SerializeToString(), options)
    except Exception:  # onnxruntime raises a dozen types for invalid models
        return None


def agrees(
    model: onnx.ModelProto, graph: Graph, session: onnxruntime.InferenceSession
) -> bool | None:
    """Whether prefill and decode agree, infinities included; None if onnxruntime cannot run it."""
    values, good = np.random.default_rng(0), True
    for new, length in [(5, 4), (1, 6), (3, 0)]:
        ids, past = values.integers(0, VOCABULARY, new), past_of(model, length, values)
        try:
            outputs = session.run(None, feeds(model, ids, past))
        except InvalidArgument:  # a shape that only a run shows
            return None
        got = interpret(graph, ids, past)
        for output, want in zip(session.get_outputs(), outputs, strict=True):
            size = np.abs(want[np.isfinite(want)]).max(initial=1e-6)
            good &= np.allclose(got[output.name], want, 1e-4, 1e-4 * size, equal_nan=True)
    return good


@pytest.mark.parametrize("seed", range(8))
def test_a_damaged_decoder_is_refused_or_right(seed):
    dice, accepted, refusals = random.Random(seed), 0, []
    for _ in range(25):
        model = decoder()
        change = mutate(model, dice)
        try:
            graph = canonicalise(model, 32, "model")
        except CompileError as error:
            refusals.append(str(error))
            continue
        session = session_of(model)
        if session is not None and (agreed := agrees(model, graph, session)) is not None:
            assert agreed, f"seed {seed}: {change}"
            accepted += 1
    assert accepted > 0
    assert not [text for text in refusals if "\n" in text]


WHOLE = ["exporters/qwen3/dynamo_op23", "exporters/qwen3/genai_int4", "exporters/gpt2/optimum_op18"]


def damage(model: onnx.ModelProto, dice: random.Random) -> str:
    """Change anything of one node, or the shape of one initialiser."""
    nodes = model.graph.node
    node, how = dice.choice(nodes), dice.choice(["input", "gone", "attribute", "output", "shape"])
    if how == "input" and node.input:
        names = ["", "nowhere", *(name for other in nodes for name in other.output)]
        node.input[dice.randrange(len(node.input))] = dice.choice(names)
    elif how == "attribute" and node.attribute:
        del node.attribute[dice.randrange(len(node.attribute))]
    elif how == "output":
        del node.output[-1]
    elif how == "shape" and (sized := [t for t in model.graph.initializer if t.dims]):
        tensor = dice.choice(sized)
        tensor.dims[dice.randrange(len(tensor.dims))] += dice.choice([1, -1])
    else:
        nodes.remove(node)
    return f"{how}: {node.op_type} {node.name}"


@pytest.mark.parametrize("name", WHOLE)
def test_damaged_files_are_refused_in_one_line_or_taken(name):
    """Whatever is wrong, no other error than CompileError comes."""
    dice, whole, refusals = random.Random(7), load_model(model_path(name)), []
    for _ in range(60):
        model = onnx.ModelProto()
        model.CopyFrom(whole)
        change = damage(model, dice)
        try:
            canonicalise(model, 32, "model")
        except CompileError as error:
            refusals.append(f"{change}: {error}")
    assert 20 < len(refusals) < 60
    assert not [text for text in refusals if "\n" in text]
