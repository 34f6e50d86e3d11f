"""Layers that are alike: found in a graph, and one loop in the program."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from compiler.canonical import canonicalise
from compiler.errors import CompileError
from compiler.graph import Constant, Graph, Op, Scalar, Tensor
from compiler.importer import load_model
from compiler.layers import find_layers
from compiler.layout import choose_layouts
from compiler.lower_layers import dead_before
from compiler.pipeline import compile_file, compile_graph
from compiler.storage import IN_BF16, Choice, Storage
from isa.config import load_config
from isa.image import ProgramImage, load_image, save_image
from isa.iomap import STORAGE_BYTES
from sim.backends import make_backend
from sim.check import check_image
from sim.checker import CheckError
from sim.host import InputError
from sim.runtime import Session
from sim.verify import verify
from tests.compiler.models import model_path
from tests.support import rng

TINY = load_config("tiny")
ODD = TINY.replace(name="odd", rows=4, cols=8, lanes=8, acc_rows=256)
MODELS = {
    "stories260k/optimum_op18": 5,
    "glass_en/optimum_op18": 4,
    "exporters/qwen3/genai_int4": 2,
    "exporters/gpt2/optimum_op18": 2,
}


@cache
def graph_of(name: str, context: int = 48) -> Graph:
    return canonicalise(load_model(model_path(name)), context, name)


def program(graph: Graph, loops: str, *weights: str, kv: str = "bf16") -> ProgramImage:
    return compile_graph(graph, TINY, storage=Storage(Choice.parse(weights), kv, True, loops))


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_is_found(name: str) -> None:
    """All that repeats, with one tensor going from layer to layer."""
    graph = graph_of(name)
    layers = find_layers(graph, choose_layouts(graph, TINY), IN_BF16)
    assert layers is not None
    attentions = [i for i, op in enumerate(graph.ops) if op.kind == "attention"]
    # The first layer may be written in another order; it is not part of the loop then.
    assert MODELS[name] - layers.count <= 1
    assert len(layers.carried) == 1
    assert layers.period == attentions[-1] - attentions[-2]
    assert layers.start + layers.count * layers.period <= len(graph.ops)


def changed(graph: Graph, kind: str, number: int, **values: object) -> Graph:
    """The graph with another operator in place of the number-th of its kind."""
    index = [i for i, op in enumerate(graph.ops) if op.kind == kind][number]
    ops = list(graph.ops)
    ops[index] = replace(ops[index], **values)
    return replace(graph, ops=tuple(ops))


def count_of(graph: Graph, storage: Storage = IN_BF16) -> int:
    layers = find_layers(graph, choose_layouts(graph, TINY), storage)
    return layers.count if layers else 0


def attention(graph: Graph, number: int) -> Op:
    return [op for op in graph.ops if op.kind == "attention"][number]


def test_layers_that_differ_are_not_alike() -> None:
    graph = graph_of("stories260k/optimum_op18")
    whole = count_of(graph)
    assert whole == 5
    other = dict(attention(graph, 2).attributes)
    assert count_of(changed(graph, "attention", 2, attributes=other | {"behind": 7})) == 2
    assert count_of(changed(graph, "attention", 2, attributes=other | {"scale": 0.5})) == 2
    assert count_of(changed(graph, "attention", 2, attributes=other | {"layer": 3})) < whole
    # Another number where the others have this one.
    scalar = next(i for i, op in enumerate(graph.ops) if Scalar in map(type, op.inputs))
    kind = graph.ops[scalar].kind
    inputs = tuple(Scalar(0.25) if isinstance(x, Scalar) else x for x in graph.ops[scalar].inputs)
    assert count_of(changed(graph, kind, 0, inputs=inputs)) < whole
    # Weights of another format.
    names = [op.sources[0].name for op in graph.ops if op.kind == "linear"]
    assert count_of(graph, Storage(Choice(((names[9], "fp8"),)))) < whole
    # What a layer makes is read far behind it.
    early = next(op.output for op in graph.ops if op.kind == "attention")
    last = graph.ops[-1]
    sizes = {x.size for x in last.inputs if isinstance(x, Tensor)}
    assert early.size in sizes
    inputs = tuple(early if isinstance(x, Tensor) else x for x in last.inputs)
    assert count_of(replace(graph, ops=(*graph.ops[:-1], replace(last, inputs=inputs)))) < whole


def test_numbers_that_differ_from_layer_to_layer() -> None:
    """A constant of one element is written in the instruction."""
    graph = graph_of("stories260k/optimum_op18")
    constants = dict(graph.constants)
    ops = list(graph.ops)
    places = [i for i, op in enumerate(ops) if Scalar in map(type, op.inputs)]
    for index in places:
        constants[f"one {index}"] = np.array([[2.0]], np.float32)
        x = next(x for x in ops[index].inputs if isinstance(x, Tensor))
        ops[index] = replace(ops[index], inputs=(x, Constant(f"one {index}")))
    same = replace(graph, ops=tuple(ops), constants=constants)
    assert count_of(same) == 5
    constants[f"one {places[4]}"] = np.array([[3.0]], np.float32)
    assert count_of(same) < 5


def outputs(image: ProgramImage, backend: str = "functional") -> list[np.ndarray]:
    """Logits of a prompt, of a single token and of a few more, and the caches' bytes."""
    session = Session(image, make_backend(backend))
    found = [session.step(ids) for ids in ([3, 5, 9, 17, 2], [8], [1, 2, 3])]
    assert all(np.isfinite(logits).all() for logits in found)
    for tensor in image.io.of_kind("kv"):
        rows = session.hbm[tensor.address :][: session.past * tensor.row_bytes]
        rows = rows.reshape(session.past, tensor.row_bytes)
        found += [  # what lies behind a head is nothing
            rows[:, at : at + tensor.width * STORAGE_BYTES[tensor.dtype]].copy()
            for at in range(0, tensor.groups * tensor.group_step(), tensor.group_step())
        ]
    return found


@pytest.mark.parametrize("weights", [(), ("int8",), ("mxfp4",), ("nvfp4", "*v_proj*=bf16")])
@pytest.mark.parametrize("name", ["stories260k/optimum_op18", "glass_en/optimum_op18"])
def test_the_loop_computes_what_the_layers_do(name: str, weights: tuple[str, ...]) -> None:
    graph = graph_of(name)
    images = [program(graph, loops, *weights, kv="fp8") for loops in ("never", "always")]
    assert all(check_image(image) > 0 for image in images)
    assert len(images[1].code) < len(images[0].code) / 1.5
    for wanted, found in zip(*map(outputs, images), strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("name", ["exporters/qwen3/genai_int4", "exporters/gpt2/optimum_op18"])
def test_other_models_in_a_loop(name: str) -> None:
    graph = graph_of(name)
    pair = [outputs(program(graph, loops)) for loops in ("never", "always")]
    for wanted, found in zip(*pair, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_weights_of_each_layer_choose_their_format_together() -> None:
    """``auto`` takes 4 bits only where all layers have them."""
    graph = graph_of("exporters/qwen3/genai_int4")
    pair = [program(graph, loops, "auto") for loops in ("never", "always")]
    for wanted, found in zip(*map(outputs, pair), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert pair[1].hbm_bytes < program(graph, "always").hbm_bytes


def reading_the_residual(graph: Graph) -> tuple[Graph, Tensor]:
    """Queries are made of the residual stream itself; so is something in front of all layers, which
    is added at the end. The second: the stream in front."""
    layers = find_layers(graph, choose_layouts(graph, TINY), IN_BF16)
    assert layers is not None
    ops, ((first, _),) = list(graph.ops), layers.carried
    for layer in range(layers.count):
        begin = layers.start + layer * layers.period
        stream = first if layer == 0 else ops[begin - 1].output
        index = next(i for i in range(begin, len(ops)) if ops[i].kind == "linear")
        ops[index] = replace(ops[index], inputs=(stream, ops[index].inputs[1]))
    size, (x, weight) = first.size, ops[-1].inputs
    assert isinstance(x, Tensor)
    matrix = rng(4).standard_normal((size, size), np.float32) / np.float32(8)
    front = Tensor("front", 1, size)
    ends = Tensor("ends", 1, size)
    new = Op("linear", (first, Constant("matrix")), front, ops[-1].sources)
    ops.insert(layers.start, new)
    ops[-1:] = [
        Op("add", (x, front), ends, ops[-1].sources),
        replace(ops[-1], inputs=(ends, weight)),
    ]
    constants = {**graph.constants, "matrix": matrix}
    return replace(graph, ops=tuple(ops), constants=constants), first


def test_layers_that_read_what_lies_before_them() -> None:
    """A copy in bf16 that is there in front of the loop is of no use in it."""
    graph, first = reading_the_residual(graph_of("stories260k/optimum_op18"))
    images = [program(graph, loops) for loops in ("never", "always")]
    assert len(images[1].code) < len(images[0].code) / 1.5
    for wanted, found in zip(*map(outputs, images), strict=True):
        np.testing.assert_array_equal(found, wanted)
    # What the first layer reads is wanted behind the last one too: it must stay.
    last = graph.ops[-2]
    ops = (*graph.ops[:-2], replace(last, inputs=(last.inputs[0], first)), graph.ops[-1])
    images = [program(replace(graph, ops=ops), loops) for loops in ("never", "always")]
    for wanted, found in zip(*map(outputs, images), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_what_may_lie_where_the_next_layer_will_read() -> None:
    """What a layer makes in the end is operator 4's; `late` is read behind it, `seen` by a view."""
    names = ("early", "late", "seen", "again", "made", "end")
    early, late, seen, again, made, end = (Tensor(name, 1, 8) for name in names)
    x = Tensor("x", 1, 8)
    ops = (
        Op("mul", (x, x), early, ()),
        Op("add", (early, x), late, ()),
        Op("mul", (early, early), seen, ()),
        Op("view", (seen,), again, ()),
        Op("add", (early, again), made, ()),
        Op("add", (late, made), end, ()),
    )
    assert set(dead_before(ops, 5)) == {"early"}
    assert set(dead_before(ops, 4)) == set()


def test_the_loop_is_identical_on_rtl() -> None:
    image = program(graph_of("stories260k/optimum_op18"), "always")
    runs = list(verify(image, (make_backend("functional"), make_backend("rtl")), 2))
    assert [run.difference for run in runs] == [None] * 3


def test_short_layers_stay_behind_each_other() -> None:
    graph = graph_of("stories260k/optimum_op18")
    assert program(graph, "auto").code == program(graph, "never").code


def test_what_a_middle_layer_may_store_is_checked() -> None:
    """The checker follows the first and the last one; those between are derived."""
    image = program(graph_of("stories260k/optimum_op18"), "always")
    tensors = image.io.tensors
    caches = [tensor for tensor in tensors if tensor.kind == "kv"]
    assert len(caches) == 10
    for index in (0, 4, 5, 9):
        left = tuple(tensor for tensor in tensors if tensor != caches[index])
        with pytest.raises(CheckError, match="holds no output"):
            check_image(replace(image, io=replace(image.io, tensors=left)))


def absent(path: Path) -> Path:
    """A model whose data file has been lost."""
    model = onnx.load(model_path("stories260k/optimum_op18"))
    target = path / "model.onnx"
    onnx.save(model, target, save_as_external_data=True, location="data", size_threshold=128)
    (path / "data").unlink()
    return target


def test_a_model_without_its_weights_can_be_timed(tmp_path: Path) -> None:
    path = absent(tmp_path)
    with pytest.raises(CompileError, match="data"):
        compile_file(path, TINY, 48)
    image = compile_file(path, TINY, 48, storage=Storage(stored=False))
    assert image.code == program(graph_of("stories260k/optimum_op18"), "auto").code
    assert image.content.size == 0
    assert check_image(image) > 0
    save_image(image, tmp_path / "m.jx")
    with pytest.raises(InputError, match="--no-weights"):
        Session(load_image(tmp_path / "m.jx"), make_backend("functional"))


def test_absent_numbers_that_decide_are_named(tmp_path: Path) -> None:
    model = onnx.load(absent(tmp_path), load_external_data=False)
    tensor = next(t for t in model.graph.initializer if t.data_location == TensorProto.EXTERNAL)
    tensor.data_type = TensorProto.INT64
    onnx.save(model, tmp_path / "other.onnx")
    with pytest.raises(CompileError, match=f'"{tensor.name}" of INT64 has no values'):
        compile_file(tmp_path / "other.onnx", TINY, 48, storage=Storage(stored=False))
    with pytest.raises(ValueError, match="--weights auto"):
        Storage(Choice.parse(["auto"]), stored=False)
    with pytest.raises(ValueError, match="--loops sometimes: want one of auto"):
        Storage(loops="sometimes")


def test_weights_that_are_not_finite_in_a_later_layer() -> None:
    """Large ones are looked at when they are written: nothing is left behind."""
    graph = graph_of("glass_en/optimum_op18")
    op = [op for op in graph.ops if op.kind == "linear"][9]
    name = next(x.name for x in op.inputs if isinstance(x, Constant))
    array = np.array(graph.constants[name])
    array[rng(3).integers(len(array)), 0] = np.nan
    damaged = replace(graph, constants={**graph.constants, name: array})
    with pytest.raises(CompileError, match="not finite"):
        program(damaged, "always").memory()
