"""Mixtures of experts, in the forms in which exporters write them."""

import numpy as np
import onnx
import pytest

from compiler.canonical import canonicalise
from compiler.errors import CompileError
from compiler.pipeline import compile_graph
from compiler.storage import Choice, Storage
from compiler.weights import quantise
from sim.backends import make_backend
from sim.check import check_image
from sim.runtime import Session
from tests.compiler.agreement import difference, kinds
from tests.compiler.decoder import MODEL, decoder, feeds, past_of
from tests.compiler.test_compiled import BOUND, ODD, TINY, WIDE, compare, compiled, reference
from tests.support import rng

EXPERTS, CHOSEN, HIDDEN = 5, 2, 12
ROUTER = """
    m_pow = Mul(y, y) m_mean = ReduceMean<keepdims = 1>(m_pow, minus_one)
    m_root = Sqrt(m_mean) normed = Div(y, m_root)
    flat_x = Reshape(normed, by_row)"""
SOFTMAX = """
    scores = Gemm<transB = 1>(flat_x, router) probabilities = Softmax<axis = -1>(scores)
    best, chosen = TopK<axis = -1, largest = 1, sorted = 1>(probabilities, two)
    total_best = ReduceSum<keepdims = 1>(best, minus_one) gates = Div(best, total_best)"""
SOFTMAX_OF_BEST = """
    scores = Gemm<transB = 1>(flat_x, router, router_bias)
    best, chosen = TopK<axis = -1>(scores, two) gates = Softmax<axis = 1>(best)"""
SIGMOID = """
    logit = MatMul(flat_x, router_t) probabilities = Sigmoid(logit)
    corrected = Add(probabilities, router_bias) unused, chosen = TopK(corrected, two)
    gates = GatherElements<axis = 1>(probabilities, chosen)"""
ONE_GROUP = """
    logit = MatMul(flat_x, router_t) probabilities = Sigmoid(logit)
    corrected = Add(probabilities, router_bias) in_groups = Reshape(corrected, group_shape)
    group_best, group_rest = TopK(in_groups, two)
    group_scores = ReduceSum<keepdims = 0>(group_best, minus_one)
    best_group, group_index = TopK<sorted = 0>(group_scores, one) sizes = Shape(group_scores)
    no_group = ConstantOfShape(sizes) index_sizes = Shape(group_index)
    all_ones = Expand(one_float, index_sizes)
    group_mask = ScatterElements<axis = 1>(no_group, group_index, all_ones)
    mask_3d = Unsqueeze(group_mask, minus_one) mask_wide = Expand(mask_3d, mask_sizes)
    mask_flat = Reshape(mask_wide, score_shape) allowed_ = Cast<to = 9>(mask_flat)
    barred = Not(allowed_) masked_scores = Where(barred, nought, corrected)
    unused, chosen = TopK(masked_scores, two)
    gates = GatherElements<axis = 1>(probabilities, chosen)"""
REPEATED = """
    x_3d = Unsqueeze(flat_x, one) x_wide = Expand(x_3d, repeats) x_rows = Reshape(x_wide, by_row)"""
BATCHED = """
    flat_index = Reshape(chosen, minus_one) places = Unsqueeze(flat_index, minus_one)
    up = GatherND(w_up, places) x_column = Unsqueeze(x_rows, minus_one)
    h_column = MatMul(up, x_column) h = Squeeze(h_column, minus_one)
    h_gate, h_up = Split<axis = 1, num_outputs = 2>(h)
    h_sigmoid = Sigmoid(h_gate) h_silu = Mul(h_gate, h_sigmoid) h_out = Mul(h_silu, h_up)
    down = GatherND(w_down, places) h_last = Unsqueeze(h_out, minus_one)
    e_column = MatMul(down, h_last) e_rows = Squeeze(e_column, minus_one)"""
GATHERED = """
    flat_index = Reshape(chosen, minus_one) up_n = Gather(w_up, flat_index)
    up = Transpose<perm = [0, 2, 1]>(up_n) x_row = Unsqueeze(x_rows, one)
    h_row = MatMul(x_row, up) h_plain = Squeeze(h_row, one)
    h_bias = Gather(b_up, flat_index) h = Add(h_plain, h_bias)
    h_even = Slice(h, zero, big, one, two) h_gate = Clip(h_even, , half)
    h_up = Slice(h, one, big, one, two) h_sigmoid = Sigmoid(h_gate)
    h_silu = Mul(h_gate, h_sigmoid) h_out = Mul(h_silu, h_up)
    down_n = Gather(w_down, flat_index) down = Transpose<perm = [0, 2, 1]>(down_n)
    h_last = Unsqueeze(h_out, one) e_row = MatMul(h_last, down) e_rows = Squeeze(e_row, one)"""
SUMMED = """
    flat_gates = Reshape(gates, minus_one) gate_column = Unsqueeze(flat_gates, minus_one)
    weighed = Mul(e_rows, gate_column) by_expert = Reshape(weighed, experts_shape)
    mixed = ReduceSum<keepdims = 0>(by_expert, one)"""
ALL_EXPERTS = """
    size = Shape(scores) nothing = ConstantOfShape(size)
    dense_gates = ScatterElements<axis = 1>(nothing, chosen, gates)
    x_tiled = Tile(flat_x, tiles) x_all = Reshape(x_tiled, each_shape)
    h_all = MatMul(x_all, w_each) h_sigmoid = Sigmoid(h_all) h_silu = Mul(h_all, h_sigmoid)
    e_all = MatMul(h_silu, w_each_down)
    gates_t = Transpose<perm = [1, 0]>(dense_gates) gates_3d = Unsqueeze(gates_t, minus_one)
    weighed = Mul(e_all, gates_3d) mixed = ReduceSum<keepdims = 0>(weighed, zero)"""
END = "mixed_3d = Reshape(mixed, one_sequence) z = Add(y, mixed_3d) logits = MatMul(z, head)"
FORMS = {
    "batched, softmax": SOFTMAX + REPEATED + BATCHED + SUMMED,
    "batched, sigmoid": SIGMOID + REPEATED + BATCHED + SUMMED,
    "batched, sigmoid, one group": ONE_GROUP + REPEATED + BATCHED + SUMMED,
    "gathered, softmax of the best": SOFTMAX_OF_BEST + REPEATED + GATHERED + SUMMED,
    "all experts": SOFTMAX_OF_BEST + ALL_EXPERTS,
}


def constants(experts: int = EXPERTS) -> dict[str, np.ndarray]:
    """The router's rows are far apart: choices do not depend on roundings."""
    random = rng(31)
    shapes = {
        "w_up": (experts, 2 * HIDDEN, MODEL),
        "w_down": (experts, MODEL, HIDDEN),
        "w_each": (experts, MODEL, HIDDEN),
        "w_each_down": (experts, HIDDEN, MODEL),
        "b_up": (experts, 2 * HIDDEN),
        "router": (experts, MODEL),
        "router_bias": (experts,),
    }
    arrays = {k: random.standard_normal(v).astype(np.float32) / 4 for k, v in shapes.items()}
    arrays["w_up"][:, 3] *= 8  # an outlier
    vectors = {
        "minus_one": [-1],
        "by_row": [-1, MODEL],
        "one_sequence": [1, -1, MODEL],
        "group_shape": [-1, 1, experts],
        "mask_sizes": [1, 1, experts],
        "score_shape": [-1, experts],
        "repeats": [1, CHOSEN, 1],
        "experts_shape": [-1, CHOSEN, MODEL],
        "tiles": [experts, 1],
        "each_shape": [experts, -1, MODEL],
    }
    arrays |= {k: np.array(v, np.int64) for k, v in vectors.items()}
    arrays["one_float"] = np.ones(1, np.float32)
    return arrays | {"router_t": np.ascontiguousarray(arrays["router"].T)}


def mixture(form: str, extra: dict[str, np.ndarray] | None = None) -> onnx.ModelProto:
    return decoder(constants() | (extra or {}), logits=ROUTER + form + END)


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_exporters(form):
    model = mixture(FORMS[form])
    assert difference(model, 32, [(9, 0), (1, 9), (5, 6), (1, 0)], 1) < 2e-5
    found = kinds(model)
    dense = form == "all experts"
    assert found.count("each_linear") == (2 if dense else 0)
    assert found.count("chosen_linear") == (0 if dense else 3)  # both halves, and down
    assert found.count("top_index") == (3 if "group" in form else 1)
    # Splits cut the weights; the mask of a group is repeated.
    assert found.count("arrange") == (1 if "group" in form else 0)


@pytest.mark.parametrize("config", [TINY, ODD, WIDE], ids=lambda config: config.name)
@pytest.mark.parametrize("form", FORMS)
def test_compiled(form, config):
    assert compare(mixture(FORMS[form]), config, [(1, 0), (2, 3), (5, 0), (17, 9)]) < 2 * BOUND


def test_of_equals_the_first_are_chosen():
    """No expert is better than another: ONNX takes them in order."""
    equal = np.zeros((EXPERTS, MODEL), np.float32)
    model = mixture(FORMS["batched, softmax"], {"router": equal})
    assert compare(model, TINY, [(5, 0)]) < 2 * BOUND


def test_more_experts_than_a_signed_byte_holds():
    """The choice among 140 is one of the last ones: its number has two bytes."""
    many = constants(140)
    many["router"][:129] = 0
    model = decoder(many, logits=ROUTER + FORMS["batched, softmax"] + END)
    assert compare(model, TINY, [(3, 0)]) < 2 * BOUND


def test_only_the_chosen_are_fetched():
    """Seven times the experts: a token's step loads as much, and all of them lie in memory."""
    loaded, held = [], []
    for count in (20, 140):
        model = decoder(constants(count), logits=ROUTER + FORMS["batched, softmax"] + END)
        session = compiled(model, TINY)
        session.step([7])
        loaded.append(session.counters["load_lines"])
        held.append(session.hbm.size)
    router = 120 * MODEL * 4  # at most, of its weights
    each = 3 * HIDDEN * MODEL * 2  # bytes of an expert
    assert held[1] - held[0] > 120 * each
    assert (loaded[1] - loaded[0]) * TINY.line_bytes < router + 20 * each


@pytest.mark.parametrize(
    ("form", "problem"),
    [
        (
            SOFTMAX.replace("largest = 1", "largest = 0") + REPEATED + BATCHED + SUMMED,
            r'node "best" \(TopK\): it must choose a fixed number of the largest features',
        ),
        (
            (SOFTMAX + REPEATED + BATCHED + SUMMED).replace(
                "up = GatherND(w_up, places)", "w_raw = GatherND(w_up, places) up = Tanh(w_raw)"
            ),
            r'node "up" \(Tanh\): chosen weights can only be transposed and multiplied',
        ),
        (
            SOFTMAX_OF_BEST + ALL_EXPERTS.replace("ConstantOfShape(size)", "Exp(scores)"),
            r'node "dense_gates" \(ScatterElements\): it must put numbers .* into zeros',
        ),
    ],
)
def test_refused(form, problem):
    with pytest.raises(CompileError, match=problem):
        canonicalise(mixture(form), 32, "model")


def rounded(arrays: dict[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    """The experts' weights as the format has them: scales of columns are those of all experts."""
    found = {}
    for name in ("w_up", "w_down"):
        columns = arrays[name].swapaxes(1, 2)
        rows = columns.shape[1]
        padded = np.pad(columns, ((0, 0), (0, -rows % 32), (0, 0)))
        values = quantise(padded.reshape(-1, columns.shape[2]), kind).values()
        found[name] = values.reshape(padded.shape)[:, :rows].swapaxes(1, 2).copy()
    return found


@pytest.mark.parametrize("kind", ["fp8", "int8", "int4", "mxfp4", "nvfp4"])
def test_stored_weights(kind):
    """Of all experts, and of them alone: patterns name the nodes that fetch them."""
    model, storage = mixture(FORMS["batched, softmax"]), Storage(Choice.parse([f"*column={kind}"]))
    graph = canonicalise(model, 32, "model")
    assert storage.weights.unused(graph.ops) == []
    image = compile_graph(graph, TINY, storage=storage)
    assert check_image(image) > 0
    expected = reference(mixture(FORMS["batched, softmax"], rounded(constants(), kind)))
    inputs = feeds(model, rng(3).integers(0, 19, 9), past_of(model, 0, rng(4)))
    actual = Session(image, make_backend("functional")).run(inputs)["logits"]
    wanted = expected.run(["logits"], inputs)[0]
    assert np.abs(actual - wanted).mean() < 2 * BOUND * wanted.std()
