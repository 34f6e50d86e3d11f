"""Operators of opset 23: RotaryEmbedding, and Attention by its definition in the standard."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from compiler.canonical import canonicalise
from compiler.errors import CompileError
from compiler.expand import expand
from compiler.importer import load_model
from tests.compiler.agreement import SIZES, difference
from tests.compiler.decoder import decoder
from tests.compiler.models import model_path

ROTARY = {
    "by position": "RotaryEmbedding{}(q_raw, c_half, s_half, position_ids)",
    "as it is": "RotaryEmbedding{}(q_raw, c_rows, s_rows)",
    "without an axis of heads": "q_3d = RotaryEmbedding<num_heads = 6>(q_flat, c_rows, s_rows) "
    "q_4d = Reshape(q_3d, q_shape) q = Transpose<perm = [0, 2, 1, 3]>(q_4d)",
}


def rotary(case: str, attributes: str = "") -> onnx.ModelProto:
    """The decoder whose queries and keys are rotated by the operator."""
    rows = "c_rows = Gather(c_half, position_ids) s_rows = Gather(s_half, position_ids) "
    text = ROTARY[case].format(attributes)
    query = text if "q =" in text else f"q = {text}"
    key = text if "q =" not in text else ROTARY["as it is"].format(attributes)
    key = f"k = {key.replace('q_raw', 'k_raw')}"
    angle = np.arange(100)[:, None] * np.array([1, 0.1])
    tables = {"c_half": np.cos(angle), "s_half": np.sin(angle)}
    extra = {name: array.astype(np.float32) for name, array in tables.items()}
    model = decoder(extra, tables=rows, rotation=f"{query} {key}")
    model.opset_import[0].version = 23
    return model


@pytest.mark.parametrize("case", ROTARY)
def test_rotary_embedding_agrees_with_onnxruntime(case):
    assert difference(rotary(case), 64, SIZES, seed=1) < 2e-5


@pytest.mark.parametrize("case", ROTARY)
def test_rotary_embedding_becomes_the_operators_of_its_parts(case):
    kinds = [op.kind for op in canonicalise(rotary(case), 64, "model").ops]
    wanted = [op.kind for op in canonicalise(decoder(), 64, "model").ops]
    assert sorted(k for k in kinds if k != "view") == sorted(k for k in wanted if k != "view")


@pytest.mark.parametrize("case", ["by position", "as it is"])
def test_neighbours_rotate(case):
    assert difference(rotary(case, "<interleaved = 1>"), 64, SIZES, seed=1) < 2e-5


@pytest.mark.parametrize("interleaved", [0, 1])
def test_some_features_rotate(interleaved):
    """The tables have as many columns as pairs rotate."""
    attributes = f"<rotary_embedding_dim = 2, interleaved = {interleaved}>"
    model = rotary("by position", attributes)
    for tensor in model.graph.initializer:
        if tensor.name in ("c_half", "s_half"):
            first = numpy_helper.to_array(tensor)[:, :1]
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(first), tensor.name))
    assert difference(model, 64, SIZES, seed=1) < 2e-5


def test_reject_tables_that_do_not_fit():
    with pytest.raises(CompileError, match=r'"c_half" must give 1 numbers, by the position alone'):
        canonicalise(rotary("by position", "<rotary_embedding_dim = 2>"), 64, "model")


def test_attention_is_replaced_by_its_definition_and_keeps_its_name():
    path = model_path("exporters/qwen3/dynamo_op23")
    before = onnx.load(path)
    after = expand(before)
    assert {node.op_type for node in before.graph.node} >= {"Attention"}
    assert "Attention" not in {node.op_type for node in after.graph.node}
    softmax = [node.name for node in after.graph.node if node.op_type == "Softmax"]
    assert softmax == [node.name for node in before.graph.node if node.op_type == "Attention"]
    names = {node.name for node in before.graph.node}
    assert {node.name for node in after.graph.node} == names
    assert after.graph.initializer == before.graph.initializer


def test_weights_are_not_copied_where_nothing_is_replaced():
    model = load_model(model_path("exporters/llama/optimum_op18"))
    assert expand(model) is model
