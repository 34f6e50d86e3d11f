"""How far the canonical graph of a model is from what onnxruntime computes."""

import numpy as np
import onnx
import onnxruntime

from compiler.canonical import canonicalise
from compiler.graph import Constant, Graph
from tests.compiler.decoder import feeds, past_of
from tests.compiler.interpret import interpret
from tests.support import rng

SIZES = [(9, 0), (1, 9), (5, 6), (1, 0)]  # new tokens, past tokens


def difference(model: onnx.ModelProto, max_context: int, sizes: list, seed: int) -> float:
    """The largest error of any output against onnxruntime, relative to that output's largest."""
    graph = canonicalise(model, max_context, "model")
    options = onnxruntime.SessionOptions()  # optimised, it computes int4 weights in int8
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    names = [output.name for output in session.get_outputs()]
    random, worst = rng(seed), 0.0
    vocabulary = vocabulary_of(graph)
    for new, past_length in sizes:
        ids, past = random.integers(0, vocabulary, new), past_of(model, past_length, random)
        wanted = dict(zip(names, session.run(None, feeds(model, ids, past)), strict=True))
        got = interpret(graph, ids, past)
        assert got.keys() == wanted.keys()
        for name, want in wanted.items():
            assert got[name].shape == want.shape
            worst = max(worst, float(np.abs(got[name] - want).max() / np.abs(want).max()))
    return worst


def vocabulary_of(graph: Graph) -> int:
    """How many tokens the model knows."""
    first = next(op.inputs[0] for op in graph.ops if op.kind == "embed")
    assert isinstance(first, Constant)
    return len(graph.constants[first.name])


def kinds(model: onnx.ModelProto) -> list[str]:
    """The canonical operators of a model, in order."""
    return [op.kind for op in canonicalise(model, 64, "model").ops]
