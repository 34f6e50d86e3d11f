"""Quantised models on arrays of int8: products of whole numbers keep every number."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from compiler.errors import CompileError
from compiler.graph import Op, Scalar, Tensor
from compiler.pipeline import compile_graph
from compiler.storage import Choice, Storage
from compiler.whole_numbers import whole_range
from isa.config import ChipConfig
from tests.compiler.decoder import MODEL, decoder, feeds, past_of
from tests.compiler.quantised import static
from tests.compiler.test_activations import array, graph_of, on_chip, program
from tests.compiler.test_byte_arrays import FAR
from tests.compiler.test_compiled import ODD, TINY, WIDE
from tests.compiler.test_integers import POINTS, quantised
from tests.compiler.test_quantised import reference
from tests.support import rng

SIZES = [(9, 0), (1, 9), (5, 6), (33, 5)]


def shown(model: onnx.ModelProto, *names: str) -> onnx.ModelProto:
    """The model with these tensors among its outputs."""
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "new", MODEL]) for name in names
    )
    return model


def pairs(model: onnx.ModelProto, config: ChipConfig, name: str):
    """An output of the program in bytes, and onnxruntime's, of several launches."""
    image = program(graph_of(model), array(config, "int8"), "int8")
    taken = {(op.get("af"), op.get("wf")) for op in image.ops() if op.mnemonic == "matmul"}
    assert taken == {("i8", "i8")}
    session, expected = on_chip(image), reference(model)
    for new, past in SIZES:
        random = rng(100 * new + past)
        inputs = feeds(model, random.integers(0, 19, new), past_of(model, past, random))
        yield session.run(inputs)[name], expected.run([name], inputs)[0]


@pytest.mark.parametrize("config", [TINY, ODD, WIDE], ids=lambda config: config.name)
@pytest.mark.parametrize("weights", POINTS)
def test_integer_products_are_exact(weights: str, config: ChipConfig) -> None:
    """Zero points that the chip finds, weights of either sign, and of 9 bits."""
    for found, wanted in pairs(shown(quantised(weights), "sums"), config, "sums"):
        np.testing.assert_array_equal(found, wanted)


STATIC = """
    code = QuantizeLinear(embedded, step, zero_point)
    floats = DequantizeLinear(code, step, zero_point)
    w = DequantizeLinear<axis = 1>(w_code, w_scale, w_point)
    p = MatMul(floats, w)  x = Add(p, gain)"""


@pytest.mark.parametrize("config", [TINY, ODD], ids=lambda config: config.name)
@pytest.mark.parametrize("points", ["none", "of codes", "of both", "by column"])
def test_products_of_quantised_floats(points: str, config: ChipConfig) -> None:
    """A code or a weight that is another one would be a step of 1 in some 500."""
    dice = rng(41)
    kind = np.int8 if points in ("none", "of codes") else np.uint8
    zeros = {"of both": np.full(MODEL, 90), "by column": dice.integers(0, 256, MODEL)}
    extra = {
        "step": np.float32(0.02),
        "zero_point": np.int8(0) if points == "none" else np.uint8(120),
        "w_code": dice.integers(0, 256, (MODEL, MODEL)).astype(np.uint8).view(kind),
        "w_scale": dice.uniform(0.001, 0.002, MODEL).astype(np.float32),
        "w_point": zeros.get(points, np.zeros(MODEL)).astype(kind),
    }
    model = shown(decoder(extra, feature=STATIC), "p")
    for found, wanted in pairs(model, config, "p"):
        assert np.abs(found - wanted).max() < 1e-6 * np.abs(wanted).max()


@pytest.mark.parametrize("activations", ["int8", "uint8"])
def test_models_as_exporters_quantise_them(activations: str) -> None:
    """All products with weights; attention is in codes of its own, as without quantisation."""
    plain = decoder()
    given = {tensor.name for tensor in plain.graph.initializer}
    for node in plain.graph.node:
        node.name = node.output[0]
    more = {
        "nodes_to_quantize": [n.name for n in plain.graph.node if given.issuperset(n.input[1:2])],
        "extra_options": {"OpTypesToExcludeOutputQuantization": ["MatMul"]},
    }
    model = static(plain, activations, per_channel=True, **more)
    assert sum(node.op_type == "QuantizeLinear" for node in model.graph.node) == 3
    errors, spread = [], []
    for found, wanted in pairs(model, TINY, "logits"):
        errors.append(np.abs(found - wanted).mean())
        spread.append(wanted.std())
    assert np.mean(errors) < FAR["int8"] * np.mean(spread)


@pytest.mark.parametrize("element", ["int8", "bf16"])
def test_weights_that_are_bytes_stay_as_they_are(element: str) -> None:
    """Also where --weights int8 asks for a scale of each column."""
    model, chip = shown(quantised("int8"), "sums"), array(TINY, element)
    storage = Storage(Choice.parse(["int8"]))
    if element == "int8":
        image = program(graph_of(model), chip, "int8")
    else:
        image = compile_graph(graph_of(model), chip, storage=storage)
    inputs = feeds(model, np.arange(19), past_of(model, 3, rng(2)))
    (wanted,) = reference(model).run(["sums"], inputs)
    np.testing.assert_array_equal(on_chip(image).run(inputs)["sums"], wanted)


def test_what_no_array_of_bytes_multiplies() -> None:
    attention = static(decoder(), extra_options={"ActivationSymmetric": True})
    message = r"node .*: the model quantises its attention; the array"
    with pytest.raises(CompileError, match=message):
        program(graph_of(attention), array(TINY, "int8"), "int8")
    message = r'numbers itself; such models need .* = "bf16" or "int8"$'
    with pytest.raises(CompileError, match=message):
        program(graph_of(quantised()), array(TINY, "fp8"), "fp8", calibration=())


def test_ranges_of_whole_numbers() -> None:
    """Each operator's, also where one tensor is read again and again."""
    x, ops = Tensor("x", 1, 3), dict[str, Op]()
    raised = {"unit": 1, "low": -5, "high": 9}
    ops["x"] = Op("round", (Tensor("t", 1, 3),), x, (), raised)
    steps = [
        ("add", x, (-10, 18)), ("sub", Scalar(3.0), (-13, 15)), ("max", Scalar(-1.0), (-1, 15)),
        ("min", Scalar(7.0), (-1, 7)), ("sub", x, (-10, 12)), ("mul", x, None),
    ]  # fmt: skip
    last = x
    for kind, other, wanted in steps:
        made = Tensor(f"{last.name}{kind}", 1, 3)
        ops[made.name], last = Op(kind, (last, other), made, ()), made
        assert whole_range(ops, made) == wanted
    assert whole_range(ops, Scalar(0.5)) is None
    twice = x
    for _ in range(60):
        made = Tensor(f"{twice.name}+", 1, 3)
        ops[made.name], twice = Op("add", (twice, twice), made, ()), made
    assert whole_range(ops, twice) == (-5 * 2**60, 9 * 2**60)


def test_operators_without_operands_are_no_whole_numbers() -> None:
    x = Tensor("x", 1, 3)
    assert whole_range({"x": Op("features", (), x, (), {"input": "pixels"})}, x) is None


def test_integer_weights_take_a_byte_on_arrays_of_bf16() -> None:
    """Where their zero point leaves them in one."""
    for weights, wanted in (("int8", {"i8", "bf16"}), ("uint8", {"bf16"})):
        image = compile_graph(graph_of(quantised(weights)), TINY)
        assert {op.get("wf") for op in image.ops() if op.mnemonic == "matmul"} == wanted
