"""Dynamic quantisation, DynamicQuantizeLinear and MatMulInteger: against onnxruntime."""

from dataclasses import replace

import ml_dtypes
import numpy as np
import onnx
import pytest

from compiler.canonical import canonicalise
from compiler.errors import CompileError
from compiler.graph import Graph, Op, Tensor
from compiler.importer import load_model
from compiler.pipeline import compile_graph
from compiler.storage import IN_BF16
from isa.image import ProgramImage
from sim.backends import make_backend
from sim.check import check_image
from sim.costs import costs
from sim.generate import greedy
from sim.host import InputError
from sim.runtime import Session
from sim.verify import verify
from tests.compiler.agreement import difference, kinds
from tests.compiler.decoder import MODEL, VOCABULARY, decoder, feeds, past_of
from tests.compiler.models import model_path
from tests.compiler.test_compiled import BOUND, ODD, TINY, WIDE, reference
from tests.support import rng

POINTS = {
    "int8": (np.int8, np.int8(0)),
    "uint8": (np.uint8, np.uint8(131)),
    "columns": (np.uint8, None),  # a zero point for each
}
QUANTISED = """
    code, scale, point = DynamicQuantizeLinear(embedded)
    whole = MatMulInteger(code, w_code, point, w_point)
    sums = Cast<to = 1>(whole)  factor = Mul(scale, w_scale)  p = Mul(sums, factor)
    x = Add(p, gain)"""


def quantised(weights: str = "uint8", feature: str = QUANTISED, **more: np.ndarray):
    """A decoder whose embedding, exact in bf16, is quantised and multiplied. It has outliers, also
    negative ones, so that zero points are somewhere between."""
    dice, (kind, point) = rng(31), POINTS[weights]
    table = dice.standard_normal((VOCABULARY, MODEL)).astype(np.float32)
    table[:, 5] -= 6
    if point is None:
        point = dice.integers(0, 256, MODEL).astype(np.uint8)
    limits = np.iinfo(kind)
    extra = {
        "table": table.astype(ml_dtypes.bfloat16).astype(np.float32),
        "w_code": dice.integers(limits.min, limits.max + 1, (MODEL, MODEL)).astype(kind),
        "w_point": point,
        "w_scale": np.float32(0.001),  # larger ones sharpen the softmax, and its errors
    }
    return decoder(extra | more, feature=feature)


def compiled(model: onnx.ModelProto, config=TINY, context: int = 40) -> ProgramImage:
    image = compile_graph(canonicalise(model, context, "m"), config)
    assert check_image(image) > 0
    return image


@pytest.mark.parametrize("weights", POINTS)
def test_graphs_mean_what_onnxruntime_computes(weights: str) -> None:
    """No code is another one: a step would be seen."""
    model = quantised(weights)
    assert "launch_max" in kinds(model)
    assert difference(model, 40, [(9, 0), (1, 9), (5, 6), (1, 0)], 2) < 2e-5


@pytest.mark.parametrize("config", [TINY, ODD, WIDE], ids=lambda config: config.name)
@pytest.mark.parametrize("weights", POINTS)
def test_programs_agree(weights: str, config) -> None:
    """The quantised product is exact: the rest is as in other decoders."""
    model = quantised(weights)
    session = Session(compiled(model, config), make_backend("functional"))
    expected = reference(model)
    for new, past in [(1, 0), (5, 0), (3, 7), (8, 30), (17, 0), (33, 5)]:
        random = rng(100 * new + past)
        inputs = feeds(model, random.integers(0, 19, new), past_of(model, past, random))
        wanted = expected.run(["logits"], inputs)[0]
        error = np.abs(session.run(inputs)["logits"] - wanted).mean() / wanted.std()
        assert error < BOUND


def test_it_is_identical_on_rtl() -> None:
    image = compiled(quantised())
    runs = list(verify(image, (make_backend("functional"), make_backend("rtl")), 2))
    assert [run.difference for run in runs] == [None] * 3


@pytest.mark.parametrize("outlier", [0, 13, 19])
def test_the_range_is_that_of_all_chunks(outlier: int) -> None:
    """The token with the largest number, and later the smallest, is in the first, the second or the
    last of three: every code of each depends on it."""
    for sign in (1, -1):
        table = rng(5).standard_normal((VOCABULARY, MODEL)).astype(np.float32)
        table[2, 7] = sign * 24
        model = quantised(table=table.astype(ml_dtypes.bfloat16).astype(np.float32))
        ids = np.array([3 + place % 9 for place in range(20)])
        ids[outlier] = 2
        (wanted,) = reference(model).run(["logits"], feeds(model, ids, past_of(model, 0, rng(1))))
        found = Session(compiled(model), make_backend("functional")).step(ids.tolist())
        assert np.abs(found - wanted[0]).mean() < BOUND * wanted.std()


def with_maxima(graph: Graph) -> Graph:
    """Each layer's queries plus the largest of them."""
    ops = []
    for op in graph.ops:
        if op.kind == "attention":
            q, *rest = op.inputs
            assert isinstance(q, Tensor)
            most, total = Tensor(f"{q.name}.most", 1, 1), replace(q, name=f"{q.name}.total")
            ops += [Op("launch_max", (q,), most, ()), Op("add", (q, most), total, ())]
            op = replace(op, inputs=(total, *rest))
        ops.append(op)
    return replace(graph, ops=tuple(ops))


def test_where_layers_are_a_loop_all_tokens_of_a_launch_must_come_at_once() -> None:
    """More than a pass holds are refused, texts come in parts; else they may come in any number."""
    name = "stories260k/optimum_op18"
    graph = with_maxima(canonicalise(load_model(model_path(name)), 40, name))
    image, plain = (
        compile_graph(graph, TINY, storage=replace(IN_BF16, loops=loops))
        for loops in ("always", "never")
    )
    assert check_image(image)
    assert check_image(plain)
    assert plain.io.largest_launch == 40
    most = image.io.largest_launch
    assert most == image.meta["chunk"] == 8
    one, two = (Session(image, make_backend("functional")) for _ in range(2))
    ids = rng(8).integers(3, 500, 20).tolist()
    with pytest.raises(InputError, match="20 tokens are more than the 8 that the program takes at"):
        one.step(ids)
    with pytest.raises(InputError, match="9 tokens are more than the 8 that it takes at once"):
        costs(image, 9)
    for start in range(0, 20, 8):
        logits = one.step(ids[start : start + 8])
    assert next(greedy(two, ids, 1, set())) == int(logits[-1].argmax())
    assert not np.array_equal(Session(plain, make_backend("functional")).step(ids)[-1], logits[-1])


def test_nothing_but_zeros() -> None:
    """No range: every code is 0, and nothing is divided by 0."""
    model = quantised(table=np.zeros((VOCABULARY, MODEL), np.float32))
    ids = np.array([1, 2])
    (wanted,) = reference(model).run(["logits"], feeds(model, ids, past_of(model, 0, rng(1))))
    found = Session(compiled(model), make_backend("functional")).step(ids)
    assert np.abs(found - wanted[0]).mean() < BOUND * wanted.std()


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        ("code, scale, point = DynamicQuantizeLinear(embedded) other = Cast<to = 1>(code) "
         "x = Add(other, gain)", '"code" of DynamicQuantizeLinear may only be used by MatMulInteg'),
        ("code, scale, point = DynamicQuantizeLinear(embedded) "
         "whole = MatMulInteger(code, w_code) x = Cast<to = 1>(whole)",
         "its first input must come from DynamicQuantizeLinear, with its zero point"),
    ],
)  # fmt: skip
def test_other_uses_are_refused(feature: str, message: str) -> None:
    with pytest.raises(CompileError, match=message):
        canonicalise(quantised(feature=feature), 40, "m")
