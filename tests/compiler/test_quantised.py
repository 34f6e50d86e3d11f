"""Models with quantised activations: QuantizeLinear and DequantizeLinear, against onnxruntime."""

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.quantization import QuantFormat

from compiler.canonical import canonicalise
from compiler.errors import CompileError
from compiler.importer import load_model
from compiler.pipeline import compile_graph
from sim.backends import make_backend
from sim.check import check_image
from sim.runtime import Session
from tests.compiler.agreement import difference
from tests.compiler.decoder import MODEL, decoder, decoder_without_cache, feeds, past_of
from tests.compiler.interpret import interpret
from tests.compiler.models import model_path
from tests.compiler.quantised import static
from tests.compiler.test_compiled import ODD, TINY, WIDE
from tests.support import rng

SIZES = [(9, 0), (1, 9), (5, 6), (1, 0)]
# Weights of 7 bits: without VNNI onnxruntime's products of 8 and 8 bits saturate in 16.
CODES = {"form": QuantFormat.QOperator, "reduce_range": True}
FORMS = {
    "int8": {},
    "uint8, by column": {"activations": "uint8", "per_channel": True},
    "unsigned weights": {"activations": "uint8", "weights": "uint8"},
    "symmetric, 7 bits": {"reduce_range": True, "extra_options": {"ActivationSymmetric": True}},
    "many operators": {"operators": ["MatMul", "Gather", "Mul", "Reshape", "Transpose"]},
    "operators on codes": CODES | {"activations": "uint8"},
    "operators on codes, by column": CODES | {"per_channel": True},
}


def reference(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """By the definitions: optimised, products and rounding become one operator of its own."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def largest_error(model: onnx.ModelProto, config=TINY, sizes=SIZES) -> float:
    """Of the logits, relative to the largest: by the canonical graph and by the program."""
    graph, session = canonicalise(model, 40, "m"), reference(model)
    image = compile_graph(graph, config)
    assert check_image(image) > 0
    program, worst = Session(image, make_backend("functional")), 0.0
    for new, past_length in sizes:
        random = rng(100 * new + past_length)
        ids, past = random.integers(0, 19, new), past_of(model, past_length, random)
        inputs = feeds(model, ids, past)
        (wanted,) = session.run(["logits"], inputs)
        for found in (interpret(graph, ids, past), program.run(inputs)):
            worst = max(worst, float(np.abs(found["logits"] - wanted).max() / np.abs(wanted).max()))
    return worst


@pytest.mark.parametrize("form", FORMS)
def test_every_code_is_the_same(form: str) -> None:
    """All products are of whole numbers: a code that is another one would be seen."""
    assert largest_error(static(decoder(), **FORMS[form])) < 1e-6


FEATURES = {
    "QLinearAdd": "x = Add(embedded, gain)",
    "QLinearMul": "x = Mul(embedded, gain)",
    "QLinearSigmoid": "x = Sigmoid(embedded)",
    "QLinearSoftmax": "x = Softmax<axis = -1>(embedded)",
    "QLinearConcat": """
        left, right = Split<axis = -1, num_outputs = 2>(embedded)
        x = Concat<axis = -1>(right, left)""",
    "QGemm": """
        tokens = Reshape(embedded, by_row)
        product = Gemm<transB = 1>(tokens, square, gain)
        x = Reshape(product, flat_shape)""",
}


@pytest.mark.parametrize("operator", FEATURES)
def test_operators_on_codes(operator: str) -> None:
    """Softmax takes onnxruntime a table of powers: what it rounds to may be a step from here."""
    dice = rng(7)
    extra = {
        "square": dice.standard_normal((MODEL, MODEL)).astype(np.float32) / 5,
        "by_row": np.array([-1, MODEL]),
        "forbidden": np.float32(-2e30),  # of infinite ranges the calibration warns
        "flat_shape": np.array([1, -1, MODEL]),
    }
    plain = decoder(extra, feature=FEATURES[operator])
    for node in plain.graph.node:
        node.name = node.output[0]
    kinds = ["MatMul", operator.removeprefix("QLinear").removeprefix("Q")]
    chosen = ["x", "product", "q_flat", "k_flat", "v_flat", "raw", "heads", "attended", "logits"]
    model = static(plain, "uint8", operators=kinds, nodes_to_quantize=chosen, **CODES)
    assert operator in {node.op_type for node in model.graph.node}
    assert largest_error(model, sizes=[(9, 0), (5, 0)]) < 1e-6


@pytest.mark.parametrize("config", [ODD, WIDE], ids=lambda config: config.name)
def test_on_other_chips(config) -> None:
    assert largest_error(static(decoder()), config) < 1e-6


def test_keys_that_are_shown_nowhere() -> None:
    sizes = [(9, 0), (1, 0), (20, 0)]
    assert largest_error(static(decoder_without_cache(), "uint8"), sizes=sizes) < 1e-6


def test_the_cache_holds_what_attention_reads() -> None:
    """Keys and values come back on their grids, at most half a step from what was computed, within
    the range that was calibrated; and given again they stay what they are."""
    model = static(decoder())
    graph = canonicalise(model, 40, "m")
    (cache,) = graph.caches
    session = Session(compile_graph(graph, TINY), make_backend("functional"))
    inputs = feeds(model, rng(3).integers(0, 19, 7), past_of(model, 0, rng(3)))
    (wanted,) = reference(model).run(["present_0_key"], inputs)
    first = session.run(inputs)
    ((key,), (value,)) = cache.key_grids, cache.value_grids
    grids = {"key": key, "value": value}
    for part, grid in grids.items():
        steps = first[f"present_0_{part}"] / np.float32(grid.scale)
        np.testing.assert_allclose(steps, np.rint(steps), atol=1e-4)
    low, high = (limit * key.scale for limit in (key.low, key.high))
    error = np.abs(first["present_0_key"] - np.clip(wanted, low, high))
    assert error.max() <= 0.5001 * key.scale
    past = {f"past_0_{part}": first[f"present_0_{part}"] for part in grids}
    second = session.run(feeds(model, np.array([5]), past))
    for part in grids:
        np.testing.assert_array_equal(second[f"present_0_{part}"][:, :, :7], past[f"past_0_{part}"])


def test_codes_are_stored_as_they_are() -> None:
    """Weights of 8 bits take one byte each, and no scales among them."""
    plain, quantised = decoder(), static(decoder())
    sizes = []
    for model in (plain, quantised):
        image = compile_graph(canonicalise(model, 40, "m"), TINY)
        sizes.append({op.fields["wf"] for op in image.ops() if op.mnemonic == "matmul"})
    assert sizes == [{"bf16"}, {"i8", "bf16"}]  # bf16: keys and values


def test_a_trained_model_speaks_as_onnxruntime_does() -> None:
    """Five layers, whose norms, products and powers onnxruntime rounds in another order."""
    model = load_model(model_path("stories260k/optimum_op18"))
    model = static(model, per_channel=True, vocabulary=512)
    session, graph = reference(model), canonicalise(model, 64, "m")
    program = Session(compile_graph(graph, TINY), make_backend("functional"))
    ids = rng(9).integers(3, 512, 40)
    for count in (1, 24, 40):
        inputs = feeds(model, ids[:count], past_of(model, 0, rng(1)))
        (wanted,) = session.run(["logits"], inputs)
        error = np.abs(program.run(inputs)["logits"] - wanted)
        assert error.mean() <= 0.01 * wanted.std()
        print(count, "tokens:", (error > 0).mean(), "of the logits are others")


QUANTISED = """
    code = QuantizeLinear(embedded, step, zero_point)
    x = DequantizeLinear(code, step, zero_point)"""


@pytest.mark.parametrize(
    ("feature", "extra", "message"),
    [
        (QUANTISED, {"zero_point": np.int16(0)}, "integers of 8 or 4 bits, not INT16"),
        (QUANTISED, {"step": np.float32(0)}, "its scale must be between 2"),
        ("code = QuantizeLinear<axis = 1>(embedded, steps) "
         "x = DequantizeLinear<axis = 1>(code, steps)", {}, "not of axis 1"),
        ("n = Size(embedded)  f = Cast<to = 1>(n)  code = QuantizeLinear(embedded, f) "
         "x = DequantizeLinear(code, f)", {}, "its scale and zero point must be constant"),
    ],
)  # fmt: skip
def test_what_is_refused(feature: str, extra: dict, message: str) -> None:
    given = {
        "step": np.float32(0.1),
        "zero_point": np.uint8(120),
        "steps": np.full(MODEL, 0.1, np.float32),
    }
    model = decoder(given | extra, feature=feature)
    model.opset_import[0].version = 21
    with pytest.raises(CompileError, match=f'node "code" .QuantizeLinear.: .*{message}'):
        canonicalise(model, 40, "m")


def narrow() -> dict[str, dict[str, np.ndarray]]:
    dice = rng(14)
    codes = dice.integers(-8, 8, (MODEL, MODEL)).astype(ml_dtypes.int4)
    return {
        "weights of 4 bits by column": {"w_code": codes, "w_scale": dice.uniform(0.01, 0.1, MODEL)},
        "by blocks": {"w_code": codes, "w_scale": dice.uniform(0.01, 0.1, (3, MODEL))},
        "activations of 4 bits": {
            "w_code": codes,
            "w_scale": dice.uniform(0.01, 0.1, MODEL),
            "step": np.float32(0.7),
            "zero_point": np.array(7, ml_dtypes.uint4),
        },
    }


@pytest.mark.parametrize("kind", narrow())
def test_codes_of_four_bits(kind: str) -> None:
    extra = {"step": np.float32(0.1), "zero_point": np.uint8(120)} | narrow()[kind]
    extra["w_scale"] = extra["w_scale"].astype(np.float32)
    form = "axis = 0, block_size = 8" if extra["w_scale"].ndim == 2 else "axis = 1"
    feature = f"""
        code = QuantizeLinear(embedded, step, zero_point)
        floats = DequantizeLinear(code, step, zero_point)
        w = DequantizeLinear<{form}>(w_code, w_scale)
        p = MatMul(floats, w)  x = Add(p, gain)"""
    model = decoder(extra, feature=feature)
    model.opset_import[0].version, model.ir_version = 21, 10
    assert difference(model, 40, SIZES, seed=3) < 1e-5
    whole = {op.attributes.get("bytes") for op in canonicalise(model, 40, "m").ops}
    assert (True in whole) == (form == "axis = 1")  # scales of blocks cannot wait


def test_features_may_have_their_own_scales() -> None:
    dice = rng(12)
    extra = {
        "steps": dice.uniform(0.01, 0.2, MODEL).astype(np.float32),
        "points": dice.integers(0, 256, MODEL).astype(np.uint8),
    }
    feature = """
        code = QuantizeLinear<axis = -1>(embedded, steps, points)
        x = DequantizeLinear<axis = -1>(code, steps, points)"""
    model = decoder(extra, feature=feature)
    graph, session = canonicalise(model, 40, "m"), reference(model)
    ids = np.arange(19)
    (wanted,) = session.run(["logits"], feeds(model, ids, past_of(model, 0, rng(1))))
    found = interpret(graph, ids, past_of(model, 0, rng(1)))["logits"]
    assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max()
