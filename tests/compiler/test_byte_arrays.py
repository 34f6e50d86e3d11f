"""Models on arrays of bytes: attention against float64, programs against RTL, what is refused."""

import ml_dtypes
import numpy as np
import onnx
import pytest

from compiler.errors import CompileError
from compiler.graph import Graph, Output, Tensor
from compiler.pipeline import compile_graph
from compiler.storage import Activations, Choice, Storage
from isa.config import ChipConfig
from isa.iomap import Tensor as Place
from sim.backends import make_backend
from sim.fuzz import CHIPS
from sim.runtime import Session
from sim.slots import Slots
from sim.verify import verify
from tests.compiler.activations import rows_in_codes
from tests.compiler.decoder import HEADS, WIDTH, decoder, feeds, past_of
from tests.compiler.quantised import static as quantised
from tests.compiler.test_activations import IDS, array, graph_of, on_chip, program
from tests.compiler.test_attention import KINDS, kind_of_attention
from tests.compiler.test_compiled import BOUND, ODD, TINY, WIDE, reference
from tests.compiler.test_encoders import encoder
from tests.compiler.test_experts import FORMS, mixture
from tests.compiler.test_weights import stored, wide_decoder
from tests.support import rng

# The largest softmax weight in codes, and by how much a code is off, of itself and at least.
SOFTMAX = {"int8": (127.0, 0.0, 0.5), "fp8": (256.0, 2.0**-4, 2.0**-10)}
SLACK = 1 + 2.0**-12  # of what fp32 rounds in scores and powers: 2^-22 of scores below 2^8


def cached(session: Session, place: Place, count: int) -> np.ndarray:
    """Keys or values as they lie in memory: (count, heads, width) float64."""
    rows = session.hbm[place.address :][: count * place.row_bytes].reshape(count, place.row_bytes)
    rows = rows[:, : place.groups * place.group_step()]
    codes = rows.reshape(count, place.groups, -1)[:, :, : place.width]
    kind = np.int8 if place.dtype == "i8" else ml_dtypes.float8_e4m3fn
    return codes.view(kind).astype(np.float64)


def attention(graph: Graph) -> Graph:
    """The graph with queries and attention's output among the outputs."""
    (op,) = [op for op in graph.ops if op.kind == "attention"]
    q = op.inputs[0]
    assert isinstance(q, Tensor)
    more = (Output("q", q, 1), Output("mixed", op.output, 1))
    return Graph(**{**vars(graph), "outputs": (*graph.outputs, *more)})


@pytest.mark.parametrize("tile", [0, 32])
@pytest.mark.parametrize("config", [TINY, ODD, WIDE], ids=lambda config: config.name)
@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_attention_in_codes(kind: str, config: ChipConfig, tile: int) -> None:
    """Queries in codes of each row, keys and values as they are cached. Softmax weights p are codes
    p + d: an output is off by |sum d (v - output)| / sum (p + d), where d is what codes round."""
    model, past, new = decoder(), 30, 17
    session = on_chip(program(attention(graph_of(model)), array(config, kind), kind, tile))
    found = session.run(feeds(model, np.arange(new) % 19, past_of(model, past, rng(3))))
    places = session.image.io.of_kind("kv")
    keys, values = (cached(session, place, past + new) for place in places)
    steps = [np.array(place.scales or [1.0] * 2, np.float32) for place in places]
    queries, outputs = (found[name][0].reshape(new, HEADS, WIDTH) for name in ("q", "mixed"))
    assert np.isfinite(outputs).all()
    largest, relative, least = SOFTMAX[kind]
    compared, bounds = 0, []
    for head in range(HEADS):
        shared = head // (HEADS // 2)
        scaled = queries[:, head] * steps[0][shared]
        entered = rows_in_codes(kind, scaled.astype(np.float32))
        for token in np.flatnonzero(entered.clear):
            seen = past + token + 1
            k, v = keys[:seen, shared], values[:seen, shared]
            scores = k @ entered.codes[token] * entered.scale[token] / np.sqrt(WIDTH)
            p = largest * np.exp(scores - scores.max())
            d = (relative * p + least) * SLACK
            wanted = p @ v / p.sum()
            room = (d @ np.abs(v - wanted)) / np.maximum(p - d, 0).sum()
            error = np.abs(outputs[token, head].astype(np.float64) / steps[1][shared] - wanted)
            assert (error <= room + 2.0**-20 * np.abs(v).max()).all()
            compared += 1
            bounds.append(np.median(room) / np.abs(v).max())
    assert compared > 0.8 * HEADS * new
    assert np.median(bounds) < 0.1  # they say something


def error_of(model: onnx.ModelProto, kind: str, sizes: list[tuple[int, int]]) -> float:
    """Mean |logit error| against onnxruntime in fp32, over the logits' deviation."""
    session = on_chip(program(graph_of(model), array(TINY, kind), kind))
    expected, pairs = reference(model), []
    for new, past in sizes:
        past_rows = past_of(model, past, rng(past)) if past >= 0 else {}
        inputs = feeds(model, rng(new).integers(0, 19, new), past_rows)
        pairs.append((session.run(inputs)["logits"][0], expected.run(["logits"], inputs)[0][0]))
    actual, right = (np.concatenate(rows) for rows in zip(*pairs, strict=True))
    assert np.isfinite(actual).all()
    return np.abs(actual - right).mean() / right.std()


# A code of int8 is off by as much as a rounding to bf16 of its row's largest number, which is some
# four times as large as most; of what fp8 holds the error is 2^4 of bf16's, and so on average.
# Beside BOUND's seven roundings: weights of four products.
FAR = {"int8": BOUND * 4 * 11 / 7, "fp8": BOUND * 2**4 * 11 / 7}


@pytest.mark.parametrize("kind", ["int8", "fp8"])
@pytest.mark.parametrize("form", KINDS)
def test_kinds_of_attention(form: str, kind: str) -> None:
    """Windows, biases and softcap act on scores in fp32."""
    assert error_of(kind_of_attention(form), kind, [(5, 0), (17, 9), (1, 50)]) < FAR[kind]


@pytest.mark.parametrize("kind", ["int8", "fp8"])
def test_encoders(kind: str) -> None:
    assert error_of(encoder(), kind, [(1, -1), (9, -1), (30, -1), (64, -1)]) < FAR[kind]


def test_slots_give_what_a_program_of_one_sequence_gives() -> None:
    graph, chip = graph_of(decoder(), 157), array(TINY, "int8")
    slots = Slots(program(graph, chip, "int8", 32, slots=3), make_backend("functional"))
    plain = on_chip(program(graph, chip, "int8", 32))
    texts = [rng(seed).integers(0, 19, count) for seed, count in ((1, 70), (2, 3), (3, 35))]
    for slot, ids in enumerate(texts):
        slots.join()
        parts = [slots.step({slot: ids[i : i + 7]})[slot] for i in range(0, len(ids), 7)]
        plain.reset()
        wanted = plain.step(ids)
        assert np.isfinite(wanted).all()
        np.testing.assert_array_equal(np.concatenate(parts), wanted)


@pytest.mark.parametrize("kind", ["int8", "int8-static", "fp8", "fp8-static"])
def test_identical_on_rtl(kind: str) -> None:
    """Keys in two tiles; products of an odd number of rows, in several panels. On the fuzzer's
    chips: their models are built for other tests, too."""
    image = program(graph_of(wide_decoder()), CHIPS[kind.removesuffix("-static")], kind, 32)
    taken = {(op.get("af"), op.get("wf")) for op in image.ops() if op.mnemonic == "matmul"}
    assert taken == ({("i8", "i8")} if "int8" in kind else {("e4m3", "e4m3")})
    runs = list(verify(image, (make_backend("functional"), make_backend("rtl")), 2))
    assert [run.difference for run in runs] == [None] * 3


@pytest.mark.parametrize("weights", ["mxfp8", "mxfp4"])
def test_blocks_of_weights_on_arrays_of_fp8(weights: str) -> None:
    """As far from onnxruntime with the same weights as with E4M3's own."""
    model, chip, errors = wide_decoder(), array(TINY, "fp8"), []
    for choice in (weights, "fp8"):
        session = on_chip(program(graph_of(model), chip, "fp8", weights=Choice.parse([choice])))
        expected = reference(stored(model, choice, chip.lanes))
        inputs = feeds(model, np.arange(19), past_of(model, 9, rng(1)))
        wanted, found = expected.run(["logits"], inputs)[0], session.run(inputs)["logits"]
        errors.append(np.abs(found - wanted).mean() / wanted.std())
    assert errors[0] < 2 * errors[1]


def static_decoder() -> onnx.ModelProto:
    return quantised(decoder(), extra_options={"ActivationSymmetric": True})


TAKES = r"it takes --activations {0} or {0}-static with --weights {1} and --kv {0}; a chip with"


@pytest.mark.parametrize(
    ("element", "flags", "model", "message"),
    [
        ("int8", ("bf16", "bf16", "bf16"), decoder,
         r'node "q_flat" \(MatMul\): the array of .* int8 values, not --activations bf16; '
         + TAKES.format("int8", "int8")),
        ("int8", ("int8", "fp8", "int8"), decoder, r'"q_flat" .*, not --weights fp8; it takes'),
        ("int8", ("int8", "int8", "fp8"), decoder, "model: the array .*, not --kv fp8; it takes"),
        ("fp8", ("fp8", "nvfp4", "fp8"), decoder,
         r"not --weights nvfp4; " + TAKES.format("fp8", "fp8 or mxfp8 or mxfp4")),
        ("fp8", ("int8", "fp8", "fp8"), decoder, "not --activations int8; it takes"),
        ("int8", ("int8", "int8", "int8"), static_decoder,
         r"\(MatMul\), .* nodes: the model quantises its attention; the array of"),
        ("fp8", ("fp8", "fp8", "fp8"), static_decoder,
         "the model rounds its activations to whole numbers itself; such models need a chip with"),
        ("bf16", ("int8", "int8", "bf16"), static_decoder,
         "--activations: the model rounds its activations itself; leave it out"),
        ("bf16", ("int8-static", "int8", "bf16"), decoder,
         "--activations: the scales of int8-static are found by running the model; give it"),
        ("bf16", ("fp8-static", "fp8", "bf16"), lambda: mixture(FORMS["batched, softmax"]),
         "fp8-static is for products whose weights are the same for all tokens"),
        ("fp8", ("fp8", "fp8", "fp8"), lambda: mixture(FORMS["gathered, softmax of the best"]),
         'node "h_bias" .*: its product is computed in bf16, but the array of .* fp8 values'),
    ],
)  # fmt: skip
def test_refusals(element: str, flags: tuple[str, str, str], model, message: str) -> None:
    inside, weights, kv = flags
    ids = IDS if kv == "int8" else ()
    storage = Storage(
        Choice.parse([weights]), kv, calibration=ids, activations=Activations.parse([inside])
    )
    with pytest.raises(CompileError, match=message):
        compile_graph(graph_of(model()), array(TINY, element), storage=storage)


def test_tensors_that_are_not_finite_are_refused() -> None:
    huge = {"table": np.full((19, 24), 3e38, np.float32), "gain": np.full(24, 9, np.float32)}
    with pytest.raises(CompileError, match="--calibrate: x is not finite"):
        program(graph_of(decoder(huge)), TINY, "int8-static")


def test_unused_patterns_are_refused() -> None:
    storage = Storage(activations=Activations.parse(["nothing*=fp8"]))
    with pytest.raises(CompileError, match=r"--activations: no product .* is named nothing\*"):
        compile_graph(graph_of(decoder()), TINY, storage=storage)


def test_reports_say_what_products_multiply() -> None:
    rules = Activations.parse(["int8", "logits=bf16"])
    storage = Storage(Choice.parse(["fp8"]), activations=rules)
    image = compile_graph(graph_of(decoder()), TINY, storage=storage)
    fates = image.meta["fates"]
    assert fates['node "q_flat" (MatMul)'] == "linear; activations int8, weights fp8"
    assert fates['node "logits" (MatMul)'] == "linear; activations bf16, weights fp8"
    assert image.meta["activations"] == ["*=int8", "logits=bf16"]
