"""Reading ONNX files: every damaged one gets one clear line."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import external_data_helper, helper, parser

from compiler.canonical import canonicalise
from compiler.deferred import Deferred
from compiler.errors import CompileError
from compiler.importer import load_model
from compiler.pipeline import compile_file
from isa.config import load_config
from tests.compiler.decoder import decoder

TINY = load_config("tiny")


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(decoder(), path)
    return path


@pytest.fixture
def external_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(
        decoder(), path, save_as_external_data=True, location="model.data", size_threshold=256
    )
    return path


def refused(path: Path) -> str:
    with pytest.raises(CompileError) as error:
        load_model(path)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def test_load(model_file):
    assert load_model(model_file).graph.name == "decoder"
    assert load_model(str(model_file)) == load_model(model_file)


def test_external_data_gives_the_same_graph(model_file, external_file):
    inside = canonicalise(decoder(), 8, "model")
    outside = canonicalise(load_model(external_file), 8, "model")
    assert outside.ops == inside.ops
    for name, array in inside.constants.items():
        np.testing.assert_array_equal(outside.constants[name], array)


def large(kind: type) -> onnx.ModelProto:
    """With weights of more than a mebibyte behind a Cast, transposed, shared by two products."""
    dice = np.random.default_rng(5)
    shapes = {"up": (24, 30_000), "down": (24, 30_000), "last": (30_000, 24)}
    extra = {k: dice.standard_normal(v).astype(kind) for k, v in shapes.items()}
    return decoder(
        extra,
        feature="""
        up_32 = Cast<to = 1>(up)  p = MatMul(embedded, up_32)  t = Tanh(p)
        down_32 = Cast<to = 1>(down)  down_t = Transpose<perm = [1, 0]>(down_32)
        narrow = MatMul(t, down_t)  r = MatMul(narrow, up_32)  last_32 = Cast<to = 1>(last)
        x_1 = MatMul(r, last_32)  x = Add(x_1, embedded)""",
    )


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_large_external_data_is_mapped(tmp_path, kind):
    """The program is the same as with the weights inside, and the memory does not hold them all."""
    onnx.save(large(kind), tmp_path / "inside.onnx")
    onnx.save(
        large(kind), tmp_path / "model.onnx", save_as_external_data=True, location="model.data"
    )
    loaded = load_model(tmp_path / "model.onnx")
    assert loaded.ByteSize() < 100_000
    images = [compile_file(tmp_path / f"{n}.onnx", TINY, 16) for n in ("inside", "model")]
    assert images[0].code == images[1].code
    np.testing.assert_array_equal(images[0].memory(), images[1].memory())
    graph = canonicalise(loaded, 16, "model")
    deferred = [c for c in graph.constants.values() if isinstance(c, Deferred)]
    assert sorted(c.shape for c in deferred) == [(24, 30_000), (30_000, 24), (30_000, 24)]
    for array in deferred:
        assert np.asarray(array).dtype == np.float32
        assert np.abs(np.asarray(array)).max() > 3


def test_large_external_data_outside_the_folder(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    path = inner / "model.onnx"
    onnx.save(large(np.float32), path, save_as_external_data=True, location="model.data")
    (inner / "model.data").rename(tmp_path / "model.data")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../model.data"
    path.write_bytes(model.SerializeToString())
    assert refused(path).startswith("its external data cannot be read: ")


def test_local_functions_are_inlined(tmp_path):
    model = decoder(feature="x = local.double(embedded)")
    body = parser.parse_function(
        '<opset_import: ["" : 18], domain: "local"> double (a) => (b) { b = Add(a, a) }'
    )
    model.functions.append(body)
    model.opset_import.append(helper.make_opsetid("local", 1))
    onnx.save(model, tmp_path / "functions.onnx")
    graph = canonicalise(load_model(tmp_path / "functions.onnx"), 8, "model")
    assert graph.ops[1].kind == "add"


def test_missing_file_or_folder(tmp_path):
    assert refused(tmp_path / "none.onnx") == "cannot be read: No such file or directory"
    assert refused(tmp_path) == "cannot be read: Is a directory"


@pytest.mark.parametrize("data", [b"", b"GGUF" + bytes(100), b"hello world\n" * 50, bytes(999)])
def test_not_an_onnx_file(tmp_path, data):
    path = tmp_path / "model.onnx"
    path.write_bytes(data)
    assert refused(path).startswith("not an ONNX file, or a truncated one")


@pytest.mark.parametrize("fraction", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_truncated_file(model_file, fraction):
    data = model_file.read_bytes()
    model_file.write_bytes(data[: int(len(data) * fraction)])
    assert refused(model_file).startswith("not an ONNX file, or a truncated one")


def test_every_truncation_is_one_clear_line(model_file):
    data = model_file.read_bytes()
    for length in range(0, len(data), 97):
        model_file.write_bytes(data[:length])
        refused(model_file)


def test_missing_external_data(external_file):
    data = external_file.parent / "model.data"
    data.unlink()
    text = refused(external_file)
    assert f'the external data file "{data}" of tensor "table" is missing' in text


def test_truncated_external_data(external_file):
    data = external_file.parent / "model.data"
    data.write_bytes(data.read_bytes()[:1000])
    text = refused(external_file)
    assert f'the external data file "{data}" is truncated: tensor "table" ends at byte' in text


def test_external_data_outside_the_folder(tmp_path):
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "secret.data").write_bytes(bytes(100_000))
    model = decoder()
    external_data_helper.convert_model_to_external_data(model, location="model.data")
    onnx.save(model, inner / "model.onnx")
    model = onnx.load(inner / "model.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../secret.data"
    (inner / "model.onnx").write_bytes(model.SerializeToString())
    assert refused(inner / "model.onnx").startswith("its external data cannot be read: ")


def test_invalid_models(tmp_path):
    path = tmp_path / "model.onnx"
    model = decoder()
    model.graph.node[1].input[0] = "nowhere"
    onnx.save(model, path)
    assert refused(path).startswith("not a valid ONNX model: ")
    assert "nowhere" in refused(path)


def test_old_operator_sets(tmp_path):
    text = (
        '<ir_version: 6, opset_import: ["" : 12]> old (float[1] a) => (float[1] b) { b = Exp(a) }'
    )
    path = tmp_path / "model.onnx"
    onnx.save(parser.parse_model(text), path)
    assert refused(path) == (
        "operator set must be 13 or newer, not 12; export the model again with a newer opset"
    )


def test_weights_may_be_infinite_or_not_a_number():
    graph = canonicalise(decoder({"gain": np.array([np.inf, np.nan] * 12, np.float32)}), 8, "model")
    assert np.isnan(graph.constants["gain"]).sum() == 12


@pytest.mark.parametrize("where", ["node", "tensor", "value"])
def test_text_that_is_none(where, tmp_path):
    """protobuf reads it as bytes, which no name is."""
    model = decoder()
    if where == "node":
        model.graph.node[3].name = "STRANGE"
    elif where == "tensor":
        model.graph.initializer[0].name = "STRANGE"
    else:
        model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "STRANGE"
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString().replace(b"STRANGE", b"\xff" * len("STRANGE")))
    with pytest.raises(CompileError, match=rf"model\.onnx: a {where}'s text b'.*' is no UTF-8$"):
        load_model(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda node: node.input.pop(), "Tanh"),
        (lambda node: node.attribute.add(name="more", type=onnx.AttributeProto.INT), "more"),
    ],
)
def test_nodes_of_the_standard_are_checked_beside_foreign_ones(tmp_path, damage, message):
    model = decoder(feature="t = Tanh(embedded) x = com.microsoft.Gelu(t)")
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    (node,) = (node for node in model.graph.node if node.op_type == "Tanh")
    damage(node)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    told = refused(path)
    assert told.startswith("not a valid ONNX model: ")
    assert message in told
