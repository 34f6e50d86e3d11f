"""Rounded activations: every product of a program against NumPy and ml_dtypes, models against
onnxruntime."""

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from compiler.canonical import canonicalise
from compiler.graph import Graph
from compiler.importer import load_model
from compiler.pipeline import compile_graph
from compiler.storage import Activations, Choice, Storage
from isa.config import ChipConfig
from isa.image import ProgramImage
from sim.backends import make_backend
from sim.check import check_image
from sim.runtime import Session
from tests.compiler.activations import LARGEST, check_products, products, shown
from tests.compiler.decoder import decoder, feeds, past_of
from tests.compiler.models import model_path
from tests.compiler.test_compiled import BOUND, ODD, TINY, WIDE, reference
from tests.compiler.test_experts import FORMS, mixture
from tests.compiler.test_layers import outputs
from tests.compiler.test_weights import stored, wide_decoder
from tests.support import rng

CONTEXT = 64
IDS = tuple(rng(9).integers(0, 19, 100).tolist())
CHIPS = [TINY, ODD, WIDE]


def array(config: ChipConfig, element: str) -> ChipConfig:
    return config.replace(name=f"{config.name} {element}", element=element)


def graph_of(model: onnx.ModelProto, context: int = CONTEXT) -> Graph:
    return canonicalise(model, context, "model")


def program(
    graph: Graph, config: ChipConfig, kind: str, tile: int = 0, **other: object
) -> ProgramImage:
    """Weights and activations of one kind; on arrays of bytes the cache, too."""
    plain = kind.removesuffix("-static")
    kv = plain if config.element != "bf16" else "bf16"
    needed = other.get("stored", True) and (kv == "int8" or plain != kind)
    storage = {"kv": kv, "calibration": IDS if needed else (), "weights": Choice.parse([plain])}
    storage |= {"activations": Activations.parse([kind])} | other
    image = compile_graph(graph, config, storage=Storage(**storage), tile=tile)
    assert check_image(image) > 0
    return image


def on_chip(image: ProgramImage) -> Session:
    return Session(image, make_backend("functional"))


def _rough() -> np.ndarray:
    """Embeddings of all magnitudes: zeros, outliers, tiny ones."""
    random = rng(7)
    table = random.standard_normal((19, 24)) * np.exp2(random.integers(-30, 30, (19, 1)))
    table[random.random((19, 24)) < 0.02] *= 300
    table[5] = 0
    return table.astype(np.float32)


ROUGH = {"table": _rough()}


def run_shown(
    model: onnx.ModelProto, config: ChipConfig, kind: str, count: int = 23
) -> tuple[Graph, dict[str, np.ndarray]]:
    graph = shown(graph_of(model))
    session = on_chip(program(graph, config, kind))
    inputs = feeds(model, np.arange(count) % 19, past_of(model, 9, rng(1)))
    return graph, session.run(inputs)


@pytest.mark.parametrize("element", ["bf16", "own"])
@pytest.mark.parametrize("config", CHIPS, ids=lambda config: config.name)
@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_products_are_those_of_codes(kind: str, config: ChipConfig, element: str) -> None:
    """Each row with a scale of its own: zeros, outliers, gaps between heads, three chunks. Sums of
    70 products of two int8 are below 2^24: an array of bf16 is exact, too."""
    chip = config if element == "bf16" else array(config, kind)
    graph, found = run_shown(wide_decoder(extra=ROUGH), chip, kind)
    assert check_products(graph, found, kind) > 0.9


@pytest.mark.parametrize("element", ["bf16", "own"])
@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_static_scales_are_the_largest_numbers_of_calibration(kind: str, element: str) -> None:
    """Of the program in bf16 with the same weights and cache; what is larger saturates."""
    chip, model = TINY if element == "bf16" else array(TINY, kind), wide_decoder()
    graph = shown(graph_of(model))
    typical = on_chip(compile_graph(graph, TINY, storage=Storage(Choice.parse([kind]))))
    tops = np.zeros(len(products(graph)), np.float32)
    for start in range(0, len(IDS), CONTEXT):
        ids = np.array(IDS[start : start + CONTEXT])
        seen = typical.run(feeds(model, ids, past_of(model, 0, rng(0))))
        tops = np.maximum(tops, [np.abs(seen[f"x{n}"]).max() for n in range(len(tops))])
    session = on_chip(program(graph, chip, f"{kind}-static"))
    found = session.run(feeds(model, np.arange(19), past_of(model, 9, rng(1))))
    scales = (tops.astype(np.float64) / LARGEST[kind]).astype(np.float32)
    assert check_products(graph, found, kind, list(scales)) > 0.9


@pytest.mark.parametrize(
    ("form", "kind", "element"),
    [
        *((form, "int8", "bf16") for form in FORMS),
        ("batched, softmax", "fp8", "bf16"),
        ("batched, softmax", "int8", "int8"), ("all experts", "int8", "int8"),
        ("all experts", "fp8", "fp8"),
    ],
)  # fmt: skip
def test_products_with_chosen_weights(form: str, kind: str, element: str) -> None:
    """Few tokens, whose experts alone are fetched, and many."""
    chip = TINY if element == "bf16" else array(TINY, element)
    for count in (1, 23):
        graph, found = run_shown(mixture(FORMS[form]), chip, kind, count)
        assert check_products(graph, found, kind) > 0.9


def test_layers_are_still_one_loop() -> None:
    """Each layer has scales of its own; every bit is that of layer after layer."""
    name = "stories260k/optimum_op18"
    graph = canonicalise(load_model(model_path(name)), 48, name)
    for kind in ("int8", "int8-static"):
        images = [program(graph, TINY, kind, loops=loops) for loops in ("never", "always")]
        assert len(images[1].code) < len(images[0].code) / 1.3
        for wanted, found in zip(*map(outputs, images), strict=True):
            assert np.isfinite(wanted).all()
            np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("kind", ["int8", "int8-static", "fp8", "fp8-static"])
def test_programs_without_weights_take_as_many_instructions(kind: str) -> None:
    graph = graph_of(decoder())
    images = [program(graph, TINY, kind, stored=kept) for kept in (True, False)]
    assert len(images[0].code) == len(images[1].code)


def in_codes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with an int8 scale for each row of what meets weights."""
    changed, nodes = onnx.ModelProto(), []
    changed.CopyFrom(model)
    weights = {tensor.name for tensor in model.graph.initializer}
    ends = {"most": np.float32(127), "least": np.float32(-127), "last": np.array([-1])}
    made = [numpy_helper.from_array(np.asarray(array), name) for name, array in ends.items()]
    changed.graph.initializer.extend(made)
    for number, node in enumerate(changed.graph.node):
        if node.op_type == "MatMul" and node.input[1] in weights:
            size, top, scale, steps, whole, codes, out = (f"{x}_{number}" for x in "abcdefg")
            nodes += [
                helper.make_node("Abs", [node.input[0]], [size]),
                helper.make_node("ReduceMax", [size, "last"], [top]),
                helper.make_node("Div", [top, "most"], [scale]),
                helper.make_node("Div", [node.input[0], scale], [steps]),
                helper.make_node("Round", [steps], [whole]),
                helper.make_node("Clip", [whole, "least", "most"], [codes]),
                helper.make_node("Mul", [codes, scale], [out]),
            ]
            node.input[0] = out
        nodes.append(node)
    del changed.graph.node[:]
    changed.graph.node.extend(nodes)
    return changed


@pytest.mark.parametrize("config", CHIPS, ids=lambda config: config.name)
def test_models_agree_with_onnxruntime(config: ChipConfig) -> None:
    """With a model that rounds in the same way. What bf16 still rounds (embedding, queries, keys,
    values, softmax weights) comes out of a rounding to codes, on average, as large as it went in,
    sometimes as a whole step: one more rounding each, of six products, beside BOUND's seven."""
    model = wide_decoder()
    session = on_chip(program(graph_of(model), config, "int8"))
    expected = reference(in_codes(stored(model, "int8", config.lanes)))
    pairs = []
    for new, past in [(5, 0), (3, 7), (17, 9)]:
        random = rng(100 * new + past)
        inputs = feeds(model, random.integers(0, 19, new), past_of(model, past, random))
        (wanted,) = expected.run(["logits"], inputs)
        pairs.append((session.run(inputs)["logits"][0], wanted[0]))
    actual, right = (np.concatenate(rows) for rows in zip(*pairs, strict=True))
    assert np.isfinite(actual).all()
    assert np.abs(actual - right).mean() / right.std() < BOUND * 13 / 7
