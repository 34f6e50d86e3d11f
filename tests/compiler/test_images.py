"""Vision transformers: patches of an image as tokens, in the forms of exporters; embeddings."""

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

from compiler.canonical import canonicalise
from compiler.errors import CompileError
from compiler.pipeline import compile_graph
from sim.backends import make_backend
from sim.check import check_image
from sim.host import InputError
from sim.runtime import Session
from tests.compiler.decoder import decoder, decoder_without_cache, feeds, past_of
from tests.compiler.test_compiled import BOUND, ODD, TINY, WIDE, reference
from tests.support import rng

MODEL, CHANNELS, HEIGHT, WIDTH, KERNEL = 24, 3, 9, 12, (4, 3)  # 2 by 4 patches, a row of rest
PATCHES = 8
CONVOLUTION = """
    maps = Conv<kernel_shape = [4, 3], strides = [4, 3]>(pixel_values, kernel, bias)
    flat = Reshape(maps, patch_shape)  patches = Transpose<perm = [0, 2, 1]>(flat)"""
STARTS = {
    "class token": (
        "batch = Shape<end = 1>(pixel_values)  wanted = Concat<axis = 0>(batch, one, model)  "
        "classes = Expand(class_token, wanted)  tokens = Concat<axis = 1>(classes, patches)  "
        "x = Add(tokens, positions)",
        PATCHES + 1,
    ),
    "patches alone": ("x = Add(positions, patches)", PATCHES),
    "registers": (
        "tokens = Concat<axis = 1>(class_token, patches)  placed = Add(tokens, positions)  "
        "first = Slice(placed, zero, one, one)  others = Slice(placed, one, big, one)  "
        "x = Concat<axis = 1>(first, registers, others)",
        PATCHES + 4,
    ),
    "tokens behind": (
        "tokens = Concat<axis = 1>(patches, class_token)  x = Sub(tokens, positions)",
        PATCHES + 1,
    ),
}
LAYER = """
    h = LayerNormalization<axis = -1>(x, gain, offset)
    q_flat = MatMul(h, wq)  k_flat = MatMul(h, wk)  v_flat = MatMul(h, wv)
    q_heads = Reshape(q_flat, heads_shape)  k_heads = Reshape(k_flat, heads_shape)
    v_heads = Reshape(v_flat, heads_shape)
    q = Transpose<perm = [0, 2, 1, 3]>(q_heads)  keys = Transpose<perm = [0, 2, 3, 1]>(k_heads)
    v = Transpose<perm = [0, 2, 1, 3]>(v_heads)
    raw = MatMul(q, keys)  scaled = Mul(raw, half)  weights = Softmax<axis = -1>(scaled)
    mixed = MatMul(weights, v)  by_token = Transpose<perm = [0, 2, 1, 3]>(mixed)
    joined = Reshape(by_token, flat_shape)  attended = MatMul(joined, wo)  y = Add(x, attended)
    z = LayerNormalization<axis = -1>(y, gain, offset)"""
PROBE = """
    z_t = Transpose<perm = [1, 0, 2]>(z)  p_q = MatMul(probe, wq)
    p_k = MatMul(z_t, wk)  p_v = MatMul(z_t, wv)
    p_q_heads = Reshape(p_q, probe_shape)  p_k_heads = Reshape(p_k, by_head)
    p_v_heads = Reshape(p_v, by_head)  p_q_t = Transpose<perm = [1, 0, 2]>(p_q_heads)
    p_half = Mul(p_q_t, half)  p_keys = Transpose<perm = [1, 2, 0]>(p_k_heads)
    p_scores = MatMul(p_half, p_keys)  p_weights = Softmax<axis = -1>(p_scores)
    p_values = Transpose<perm = [1, 0, 2]>(p_v_heads)  p_mixed = MatMul(p_weights, p_values)
    p_one = Transpose<perm = [1, 0, 2]>(p_mixed)  p_flat = Reshape(p_one, row_shape)
    p_out = Gemm<transB = 1>(p_flat, wo)  p_row = Reshape(p_out, one_token)
    p_norm = LayerNormalization<axis = -1>(p_row, gain, offset)  p_wide = MatMul(p_norm, wk)
    p_sum = Add(p_row, p_wide)  out = Gather<axis = 1>(p_sum, zero_scalar)"""  # as torch has it
ENDS = {
    "all tokens": ("out = Identity(z)", "float[N, T, 24]"),
    "the class token": (
        "picked = Gather<axis = 1>(z, zero_scalar)  "
        "out = Gemm<transB = 1>(picked, head, head_bias)",
        "float[N, 7]",
    ),
    "the mean": (
        "picked = ReduceMean<keepdims = 0>(z, one)  "
        "out = Gemm<transB = 1>(picked, head, head_bias)",
        "float[N, 7]",
    ),
    "class token and mean of the others": (
        "first_ = Gather<axis = 1>(z, zero_scalar)  rest = Slice(z, one, big, one)  "
        "mean = ReduceMean<keepdims = 0>(rest, one)  out = Concat<axis = 1>(first_, mean)",
        "float[N, 48]",
    ),
    "a learned query": (PROBE, "float[1, 24]"),
}


def constants(tokens: int, heads: int) -> dict[str, np.ndarray]:
    random = rng(41)
    shapes = {
        "kernel": (MODEL, CHANNELS, *KERNEL),
        "bias": (MODEL,),
        "class_token": (1, 1, MODEL),
        "registers": (1, 3, MODEL),
        "probe": (1, 1, MODEL),
        "gain": (MODEL,),
        "offset": (MODEL,),
        "head": (7, MODEL),
        "head_bias": (7,),
        **dict.fromkeys(("wq", "wk", "wv", "wo"), (MODEL, MODEL)),
    }
    arrays = {k: random.standard_normal(v).astype(np.float32) / 4 for k, v in shapes.items()}
    arrays["kernel"][3] *= 8  # an outlier
    vectors = {
        "patch_shape": [0, MODEL, -1],
        "heads_shape": [0, tokens, heads, MODEL // heads],
        "flat_shape": [0, tokens, MODEL],
        "by_head": [tokens, heads, MODEL // heads],
        "probe_shape": [1, heads, MODEL // heads],
        "row_shape": [1, MODEL],
        "one_token": [1, 1, MODEL],
        "one": [1],
        "zero": [0],
        "big": [2**62],
        "model": [MODEL],
        "zero_scalar": 0,
    }
    arrays |= {k: np.array(v, np.int64) for k, v in vectors.items()}
    return arrays | {"half": np.array(0.5, np.float32)}


def image_model(
    start: str, end: str = "all tokens", heads: int = 4, convolution: str = CONVOLUTION
) -> onnx.ModelProto:
    begin, tokens = STARTS[start]
    finish, shape = ENDS[end]
    head = f"""<ir_version: 9, opset_import: ["" : 18]>
        vision (float[N, 3, 9, 12] pixel_values) => ({shape} out) {{"""
    model = parser.parse_model(head + convolution + begin + LAYER + finish + "}")
    arrays = constants(tokens, heads)
    positions = tokens - (3 if start == "registers" else 0)
    arrays["positions"] = rng(5).standard_normal((1, positions, MODEL)).astype(np.float32)
    used = {name for node in model.graph.node for name in node.input}
    for name, array in arrays.items():
        if name in used:
            model.graph.initializer.append(numpy_helper.from_array(array, name))
    return model


def compiled(model: onnx.ModelProto, config=TINY) -> Session:
    image = compile_graph(canonicalise(model, None, "model"), config)
    assert check_image(image) > 0
    return Session(image, make_backend("functional"))


def images(count: int) -> np.ndarray:
    shape = count, CHANNELS, HEIGHT, WIDTH
    return rng(6).standard_normal(shape).astype(np.float32)


def error(model: onnx.ModelProto, config=TINY, count: int = 2) -> float:
    pixels = {"pixel_values": images(count)}
    wanted = reference(model).run(None, pixels)[0]
    actual = compiled(model, config).run(pixels)["out"]
    assert actual.shape == wanted.shape
    return float(np.abs(actual - wanted).mean() / wanted.std())


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("start", STARTS)
def test_forms_of_exporters(start, end):
    # The others' graphs are of one image.
    batches = start in ("class token", "patches alone") and end != "a learned query"
    assert error(image_model(start, end), count=2 if batches else 1) < BOUND


@pytest.mark.parametrize("config", [ODD, WIDE], ids=lambda config: config.name)
def test_other_chips(config):
    assert error(image_model("class token"), config) < BOUND


@pytest.mark.parametrize("start", ["patches alone", "class token"])
def test_as_many_tokens_as_heads_or_features_of_a_head(start):
    """Shapes alone do not tell which axis is the tokens'."""
    heads = {"patches alone": 8, "class token": 3}[start]  # 8 tokens of 8 heads; heads of 8
    assert error(image_model(start, heads=heads)) < BOUND
    assert error(image_model(start, "a learned query", heads), count=1) < BOUND
    if start == "patches alone":
        assert error(image_model(start, heads=3)) < BOUND  # 8 tokens, heads of 8 features


def test_all_is_said_of_the_image():
    graph = canonicalise(image_model("registers"), None, "model")
    (image,) = graph.images.values()
    assert image.size == (CHANNELS, HEIGHT, WIDTH)
    assert image.order == (*[-1] * 4, *range(PATCHES))
    assert (graph.tokens, graph.max_context) == (12, 12)
    assert [op.kind for op in graph.ops[:3]] == ["features", "linear", "add"]


REFUSED = {
    "padding": (
        {"convolution": CONVOLUTION.replace("strides", "pads = [1, 1, 1, 1], strides")},
        r'"maps" \(Conv\): it must cut an image into patches: strides as its kernel, no padding',
    ),
    "overlap": (
        {"convolution": CONVOLUTION.replace("strides = [4, 3]", "strides = [2, 3]")},
        r'"maps" \(Conv\): it must cut an image into patches',
    ),
    "pixels": (
        {"convolution": CONVOLUTION.replace("Conv", "Relu", 0).replace(
            "maps =", "less = Relu(pixel_values)  maps =").replace("(pixel_values, k", "(less, k")},
        r'"less" \(Relu\): an image must first go through a convolution over its patches',
    ),
    "order": (
        {"convolution": CONVOLUTION.replace("Transpose<perm = [0, 2, 1]>(flat)",
            "Reshape(flat, flat_shape)")},
        r"each token must be one patch, its features in their order",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case):
    changes, problem = REFUSED[case]
    with pytest.raises(CompileError, match=problem):
        canonicalise(image_model("patches alone", **changes), None, "model")


def test_images_with_text_are_refused():
    model = image_model("class token")
    model.graph.input.append(onnx.helper.make_tensor_value_info("input_ids", 7, [1, "S"]))
    with pytest.raises(CompileError, match="images together with text are not supported"):
        canonicalise(model, None, "model")


def test_images_of_any_size_are_refused():
    model = image_model("class token")
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "H"
    with pytest.raises(CompileError, match=r"all but the batch fixed.*export with one size"):
        canonicalise(model, None, "model")


@pytest.mark.parametrize("cached", [True, False])
def test_embeddings_as_inputs(cached):
    """A row of numbers for each token, in place of ids: any count of them, behind a past."""
    model = decoder() if cached else decoder_without_cache()
    table = rng(8).standard_normal((19, MODEL)).astype(np.float32)
    (gather,) = (node for node in model.graph.node if "embedded" in node.output)
    model.graph.node.remove(gather)
    model.graph.node.insert(0, onnx.helper.make_node("Identity", ["inputs_embeds"], ["embedded"]))
    value = onnx.helper.make_tensor_value_info("inputs_embeds", 1, [1, "S", MODEL])
    model.graph.input[0].CopyFrom(value)
    image = compile_graph(canonicalise(model, 64, "model"), TINY)
    assert check_image(image) > 0
    session, expected = Session(image, make_backend("functional")), reference(model)
    for new, past in ((5, 0), (17, 9 * cached), (1, 20 * cached)):
        random = rng(new)
        inputs = feeds(model, np.zeros(new, np.int64), past_of(model, past, random))
        inputs["inputs_embeds"] = table[random.integers(0, 19, (1, new))]
        wanted = expected.run(["logits"], inputs)[0]
        error = np.abs(session.run(inputs)["logits"] - wanted).mean() / wanted.std()
        assert error < BOUND


def test_wrong_images():
    session = compiled(image_model("class token"))
    with pytest.raises(InputError, match=r"'pixel_values' must have shape \(1, 3, 9, 12\)"):
        session.run({"pixel_values": images(1)[:, :, :8]})
    with pytest.raises(InputError, match="takes arrays, 'pixel_values', not tokens alone"):
        session.step([1])
    with pytest.raises(InputError, match="'pixel_values' is missing"):
        session.run({})
