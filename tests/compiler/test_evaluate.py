"""Evaluating what depends on shapes, masks and positions only, against onnxruntime."""

import numpy as np
import onnx
import onnxruntime
import pytest

from compiler.errors import CompileError
from compiler.evaluate import Evaluator
from compiler.evaluate_sample import Sample
from compiler.evaluate_shapes import Sized, concrete_shape, symbolic_shapes
from compiler.importer import load_model
from compiler.importer_interface import find_interface
from tests.compiler.decoder import decoder, feeds, past_of
from tests.compiler.models import model_path

SAMPLES = [Sample(7, 13), Sample(11, 5), Sample(3, 0), Sample(1, 17)]


def evaluator_of(model: onnx.ModelProto) -> Evaluator:
    return Evaluator(model, find_interface(model, "model"))


def all_values(model: onnx.ModelProto, names: list[str], sample: Sample) -> dict[str, np.ndarray]:
    """What onnxruntime computes for the inner values `names`."""
    model = onnx.shape_inference.infer_shapes(model)
    types = {value.name: value for value in model.graph.value_info}
    names = [name for name in names if name in types]
    model.graph.output.extend(types[name] for name in names)
    random = np.random.default_rng(0)
    ids = random.integers(0, 19, sample.new)
    inputs = feeds(model, ids, past_of(model, sample.past, random))
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return dict(zip(names, session.run(names, inputs), strict=True))


def models() -> list:
    return ["", "stories260k/optimum_op18", "stories260k/dynamo_op20"]


@pytest.mark.parametrize("name", models())
@pytest.mark.parametrize("sample", SAMPLES[:3], ids=str)
def test_known_values_and_shapes_agree_with_onnxruntime(name, sample):
    model = load_model(model_path(name)) if name else decoder()
    values = evaluator_of(model).run(sample)
    wanted = all_values(model, [*values.known, *values.shapes], sample)
    assert len(wanted) > 20
    for value, want in wanted.items():
        if value in values.known:
            np.testing.assert_allclose(values.known[value], want, rtol=1e-5, atol=1e-5)
        else:
            assert values.shapes[value] == want.shape


def test_activations_depend_on_tokens_or_caches():
    evaluator = evaluator_of(decoder())
    assert {"input_ids", "past_0_key", "embedded", "logits"} <= evaluator.activations
    assert not {"cos", "mask", "total", "table", "position_ids"} & evaluator.activations
    assert "mask" in evaluator.varying
    assert "table" not in evaluator.varying


def test_learnt_shapes_replace_inference():
    evaluator = evaluator_of(decoder())
    evaluator.learn_shapes(SAMPLES)
    assert evaluator.symbols["scaled"] == (1, 6, Sized("new"), Sized("total"))
    assert evaluator.symbols["past_0_value"] == (1, 2, Sized("past"), 4)
    other = Sample(30, 2)
    known = evaluator.run(other, ["mask"]).known
    allowed = np.arange(32) <= np.arange(2, 32)[:, None]
    np.testing.assert_array_equal(known["mask"][0, 0] == 0, allowed)
    assert "cos" not in known
    assert evaluator.run(other).shapes == evaluator_of(decoder()).run(other).shapes


def test_positions_can_be_given():
    positions = (4, 0, 9)
    known = evaluator_of(decoder()).run(Sample(3, 7, positions), ["cos"]).known
    angle = np.array(positions)[:, None] * np.array([1, 0.1, 1, 0.1])
    np.testing.assert_allclose(known["cos"][0, 0], np.cos(angle), rtol=1e-5)


def test_constants_are_computed_once():
    model = decoder(
        {"half_gain": np.ones(24, np.float32)},
        feature="""
        t = Transpose(square) u = Transpose(t) x = MatMul(embedded, u)""".strip(),
    )
    array = np.arange(24 * 24, dtype=np.float32).reshape(24, 24)
    model.graph.initializer.append(onnx.numpy_helper.from_array(array, "square"))
    evaluator = evaluator_of(model)
    np.testing.assert_array_equal(evaluator.constant("t"), array.T)
    assert evaluator.constant("u") is evaluator.constant("u")


def test_symbolic_shapes():
    shapes = [{"a": (1, s.new, 7), "b": (s.total, s.past), "c": (2 * s.new,)} for s in SAMPLES]
    shapes = [{**known, "d": (s.new + 1,)} for known, s in zip(shapes, SAMPLES, strict=True)]
    found = symbolic_shapes(SAMPLES, shapes)
    assert found == {
        "a": (1, Sized("new"), 7),
        "b": (Sized("total"), Sized("past")),
        "c": (Sized("new", 2),),
    }
    assert concrete_shape(found["b"], Sample(2, 30)) == (32, 30)


def test_a_value_whose_rank_varies_has_no_symbolic_shape():
    shapes = [{"a": (1,) * sample.new} for sample in SAMPLES]
    assert symbolic_shapes(SAMPLES, shapes) == {}


def test_errors_name_the_node():
    broken = evaluator_of(decoder(feature="p = Gather(gain, position_ids) x = Mul(embedded, p)"))
    with pytest.raises(CompileError, match=r'^node "p" \(Gather\): cannot be evaluated: .*index'):
        broken.run(Sample(30, 0))
    broken = evaluator_of(decoder(feature="x = MatMul(embedded, wk)"))
    with pytest.raises(CompileError, match=r'^node "q_flat" \(MatMul\): its shapes do not fit: '):
        broken.run(Sample(3, 0))


def test_negative_sizes_are_refused():
    """Three parts of one number leave the last -1."""
    feature = """
        m = ReduceMax(embedded, minus_one)  a, b, c = Split<axis = -1, num_outputs = 3>(m)
        n = Shape(c)  f = Cast<to = 1>(n)  g = ReduceSum<keepdims = 0>(f)  x = Mul(embedded, g)"""
    broken = evaluator_of(decoder({"minus_one": np.array([-1])}, feature=feature))
    message = r'^node "a" \(Split\): its output would be of shape \(1, 3, -1\)'
    with pytest.raises(CompileError, match=message):
        broken.run(Sample(3, 0))


@pytest.mark.parametrize("parts", [0, 1, 3, 1 << 40])
@pytest.mark.parametrize("known", ["embedded", "gain"])
def test_parts_that_are_no_outputs_are_refused(known, parts):
    """onnx's type inference would end the process, or take all memory."""
    halves = f"left, right = Split<axis = -1, num_outputs = {parts}>({known})"
    feature = f"{halves} turned = Concat<axis = -1>(right, left) x = Add(embedded, turned)"
    broken = evaluator_of(decoder(feature=feature))
    message = rf'^node "left" \(Split\): its 2 outputs do not fit {parts} parts'
    with pytest.raises(CompileError, match=message):
        broken.run(Sample(3, 0))
