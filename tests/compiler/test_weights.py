"""Weights in storage formats: against ml_dtypes' codes, closed forms, and onnxruntime."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from compiler.canonical import canonicalise
from compiler.graph import Op, Source, Tensor
from compiler.importer import load_model
from compiler.pipeline import compile_graph
from compiler.storage import STORED, Choice, Storage
from compiler.weights import Weights, geometry, narrowest, pack, quantise
from isa.config import ChipConfig
from isa.formats import FORMATS
from isa.image import ProgramImage
from sim.backends import make_backend
from sim.check import check_image
from sim.costs import costs, totals
from sim.matrix import _Fields, _normal
from sim.runtime import Session
from sim.state import State
from sim.verify import verify
from tests.compiler.decoder import WIDTH, decoder, feeds, past_of
from tests.compiler.models import model_path
from tests.compiler.test_compiled import BOUND, ODD, TINY, WIDE, reference
from tests.support import rng

ELEMENTS = {
    "bf16": ml_dtypes.bfloat16, "e4m3": ml_dtypes.float8_e4m3fn, "i8": np.int8,
    "mxfp8": ml_dtypes.float8_e4m3fn, "mxfp4": ml_dtypes.float4_e2m1fn,
    "nvfp4": ml_dtypes.float4_e2m1fn, "i4": ml_dtypes.int4,
}  # fmt: skip
SCALES = {
    "e8m0": ml_dtypes.float8_e8m0fnu,
    "e4m3": ml_dtypes.float8_e4m3fn,
    "bf16": ml_dtypes.bfloat16,
}
# Elements that reach as far as their scale allows are off by at most this part of the block's (the
# column's) largest: half a step where steps are widest. MX scales waste up to a factor of 2, the
# largest element up to a quarter of its value (of E2M1: 8 becomes 6) if that is the lesser error;
# so does an int4 of 8 steps that becomes 7, as the other sign's are 8 long.
RELATIVE = {
    "bf16": 2.0**-8, "fp8": 2.0**-4, "int8": 0.5 / 127, "int4": 1 / 8 + 2.0**-8,
    "mxfp8": 2.0**-3, "mxfp4": 0.25, "nvfp4": 1 / 6 + 2.0**-4,
}  # fmt: skip


def decoded(weights: Weights) -> np.ndarray:
    """(K, N) float64, by ml_dtypes alone."""
    entry = FORMATS[weights.name]
    values = weights.codes.view(ELEMENTS[weights.name]).astype(np.float64)
    if weights.scales is not None:
        scales = weights.scales.view(SCALES[entry.scale]).astype(np.float64)
        values *= np.repeat(scales, entry.block, axis=0)[: len(values)]
    return values if weights.columns is None else values * weights.columns.astype(np.float64)


def matrix(shape: tuple[int, int], seed: int) -> np.ndarray:
    """Columns and blocks of many magnitudes, some of them zeros, with outliers."""
    dice = rng(seed)
    found = dice.standard_normal(shape) * np.exp2(dice.integers(-12, 6, shape[1]))
    found *= np.exp2(dice.integers(-3, 3, (shape[0], 1)))
    found[dice.random(shape) < 0.01] *= 50
    found[: shape[0] // 2, ::7] = 0
    found[:, ::11] = 0
    return found.astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 1), (16, 3), (70, 45), (97, 130)])
@pytest.mark.parametrize("choice", STORED)
def test_every_element_is_near_what_it_stands_for(choice: str, shape: tuple[int, int]) -> None:
    wanted = matrix(shape, shape[0])
    weights = quantise(wanted, choice)
    found, block = decoded(weights), FORMATS[weights.name].block or (choice != "bf16") * shape[0]
    error = np.abs(found - wanted)
    if not block:
        assert (error <= RELATIVE[choice] * np.abs(wanted)).all()
        return
    starts = np.arange(0, shape[0], block)
    most = np.repeat(np.maximum.reduceat(np.abs(wanted), starts), block, axis=0)[: shape[0]]
    if choice == "nvfp4":  # scales of small blocks are subnormal E4M3, relative to the column's
        most = np.maximum(most, np.abs(wanted).max(axis=0) * 2.0**-7)
    assert (error <= RELATIVE[choice] * most).all()
    np.testing.assert_array_equal(found[wanted == 0], 0)


@pytest.mark.parametrize("choice", STORED)
def test_no_other_code_is_nearer(choice: str) -> None:
    """With the scale that was chosen, of all codes."""
    wanted = matrix((70, 45), 3).astype(np.float64)
    weights = quantise(wanted.astype(np.float32), choice)
    if choice == "bf16":
        np.testing.assert_array_equal(decoded(weights), wanted.astype(ml_dtypes.bfloat16))
        return
    best = np.abs(decoded(weights) - wanted)
    bits = FORMATS[weights.name].bits
    for code in range(1 << bits):
        one = np.full_like(weights.codes, code)
        other = np.abs(
            decoded(Weights(weights.name, one, weights.scales, weights.columns)) - wanted
        )
        # x / scale is rounded to fp32 before the nearest code is looked for.
        assert (np.isnan(other) | (best <= other + np.abs(wanted) * 2.0**-22)).all()


def test_ties_go_to_even_codes() -> None:
    """A block whose scale is 1, with the middles between E2M1's numbers."""
    ties = np.array([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0, 6.0])
    wanted = np.float32(np.concatenate([ties, -ties, np.zeros(16)]))[:, None]
    found = decoded(quantise(wanted, "mxfp4"))[:, 0]
    np.testing.assert_array_equal(found[:8], [0, 1, 1, 2, 2, 4, 4, 6])
    np.testing.assert_array_equal(found[8:16], -found[:8])


@pytest.mark.parametrize(("choice", "least"), [("mxfp4", 2), ("mxfp8", 8)])
def test_block_scales_are_no_worse_than_those_of_the_standard(choice: str, least: int) -> None:
    """OCP's own rule: the power of two of the largest, less that of the largest element."""
    wanted = matrix((64, 45), 9).astype(np.float64)
    kind = ELEMENTS[STORED[choice]]
    blocks = wanted.reshape(2, 32, 45)
    with np.errstate(divide="ignore"):
        power = np.floor(np.log2(np.abs(blocks).max(axis=1, keepdims=True))) - least
    scale = np.exp2(np.where(np.isfinite(power), power, 0))
    limit = float(ml_dtypes.finfo(kind).max)
    plain = np.clip(blocks / scale, -limit, limit).astype(kind).astype(np.float64) * scale
    ours = decoded(quantise(wanted.astype(np.float32), choice)).reshape(2, 32, 45)

    def error(found: np.ndarray) -> np.ndarray:
        return np.square(found - blocks).sum(axis=1)

    assert (error(ours) <= error(plain) * (1 + 1e-6)).all()
    assert (error(ours) < error(plain)).any()


@pytest.mark.parametrize("config", [TINY, ODD, WIDE], ids=lambda config: config.name)
@pytest.mark.parametrize("shape", [(1, 1), (33, 70), (70, 9)])
@pytest.mark.parametrize("choice", STORED)
def test_packed_weights_are_read_back(
    choice: str, shape: tuple[int, int], config: ChipConfig
) -> None:
    """By the matrix unit's rules for panels, scales and strides."""
    weights = quantise(matrix(shape, 5), choice)
    packed, state = geometry(weights.name, shape, config), State(config)
    place, data = 3 * config.line_bytes, pack(weights, config)
    state.sram[place : place + data.size] = data
    panels = -(-shape[1] // config.cols)
    assert data.size == packed.size
    assert 0 <= packed.size - panels * packed.panel < config.hbm_alignment_bytes
    where = (0, 0, 0, place, packed.stride, packed.panel, 1, *shape)
    read = _normal(state, _Fields(*where, "overwrite", "normal", "bf16", weights.name))()
    values = (read[:, : shape[1]].astype(np.uint32) << 16).view(np.float32)
    wanted = decoded(Weights(weights.name, weights.codes, weights.scales))
    np.testing.assert_array_equal(values, wanted.astype(ml_dtypes.bfloat16).astype(np.float32))


@pytest.mark.parametrize("choice", STORED)
def test_rows_keep_their_scales(choice: str) -> None:
    weights = quantise(matrix((150, 9), 12), choice)
    for start, end in [(0, 32), (32, 96), (64, 150), (128, 150)]:
        np.testing.assert_array_equal(
            decoded(weights.rows(start, end)), decoded(weights)[start:end]
        )


def wide_decoder(width: int = 70, extra: dict[str, np.ndarray] | None = None) -> onnx.ModelProto:
    """With an MLP whose 70 rows are no whole blocks, and several panels wide."""
    dice = rng(8)
    shapes = {"up": (24, width), "down": (width, 24)}
    more = {k: dice.standard_normal(v).astype(np.float32) / 4 for k, v in shapes.items()}
    feature = "p = MatMul(embedded, up) t = Tanh(p) x = MatMul(t, down)"
    return decoder(more | (extra or {}), feature=feature)


def compiled(
    model: onnx.ModelProto, config: ChipConfig, *rules: str, kv: str = "bf16"
) -> ProgramImage:
    storage = Storage(Choice.parse(rules), kv)
    image = compile_graph(canonicalise(model, 64, "m"), config, storage=storage)
    assert check_image(image) > 0
    return image


def stored(model: onnx.ModelProto, choice: str, lanes: int) -> onnx.ModelProto:
    """The model with the weights of its products as they are stored, in fp32. Each head's results
    begin a vector, so there are gaps between the rows that meet them, also inside of blocks."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    products = {node.input[1] for node in model.graph.node if node.op_type == "MatMul"}
    for tensor in changed.graph.initializer:
        if tensor.name in products:
            weights = numpy_helper.to_array(tensor)
            rows = np.arange(len(weights))
            if tensor.name == "wo":
                pad = -(-WIDTH // lanes) * lanes
                rows = rows // WIDTH * pad + rows % WIDTH
            spread = np.zeros((rows[-1] + 1, weights.shape[1]), np.float32)
            spread[rows] = weights
            values = decoded(quantise(spread, choice))[rows].astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return changed


@pytest.mark.parametrize("config", [TINY, ODD, WIDE], ids=lambda config: config.name)
@pytest.mark.parametrize("choice", STORED)
def test_programs_compute_with_stored_weights(choice: str, config: ChipConfig) -> None:
    """Two more matrices than in BOUND's layer: two roundings of weights, two of what enters."""
    compare(wide_decoder(), config, choice)


@pytest.mark.parametrize("choice", STORED)
def test_programs_add_up_parts_of_long_columns(choice: str, monkeypatch) -> None:
    """Weights that no buffer holds: several products accumulate, each with its own scales."""
    monkeypatch.setattr("compiler.lower.split_wide", lambda graph, config, chunk: graph)
    less = TINY.replace(name="less", sram_bytes=1 << 16)
    image = compare(wide_decoder(1500), less, choice)
    modes = [op.get("mode") for op in image.ops() if op.mnemonic == "matmul"]
    assert "accumulate" in modes


@pytest.mark.parametrize("choice", STORED)
def test_programs_split_wide_tensors(choice: str) -> None:
    """Products of parts of a matrix, each with the scales of its columns."""
    less = TINY.replace(name="less", sram_bytes=1 << 17)
    image = compare(wide_decoder(1500), less, choice)
    widths = [op.get("k") for op in image.ops() if op.mnemonic == "matmul"]
    assert max(k for k in widths if isinstance(k, int)) == 256


def compare(model: onnx.ModelProto, config: ChipConfig, choice: str) -> ProgramImage:
    """The program against onnxruntime with the stored weights."""
    image = compiled(model, config, choice)
    session = Session(image, make_backend("functional"))
    expected = reference(stored(model, choice, config.lanes))
    for new, past in [(5, 0), (3, 7), (17, 9)]:
        random = rng(100 * new + past)
        inputs = feeds(model, random.integers(0, 19, new), past_of(model, past, random))
        (wanted,) = expected.run(["logits"], inputs)
        error = np.abs(session.run(inputs)["logits"] - wanted).mean() / wanted.std()
        assert error < BOUND * 11 / 7
    return image


@pytest.mark.parametrize("choice", sorted(set(STORED) - {"bf16"}))
def test_formats_are_identical_on_rtl(choice: str) -> None:
    image = compiled(wide_decoder(), TINY, choice)
    assert FORMATS[STORED[choice]].name in {op.get("wf") for op in image.ops() if "wf" in op.fields}
    runs = list(verify(image, (make_backend("functional"), make_backend("rtl")), 2))
    assert [run.difference for run in runs] == [None] * 3


def test_the_last_rule_that_fits_counts() -> None:
    choice = Choice.parse(["mxfp4", "*head*=int8", "lm_head=bf16"])
    out = Tensor("y", 1, 4)

    def named(name: str) -> Op:
        return Op("linear", (), out, (Source(name, "MatMul"),))

    names = ("layer.0", "my_head.1", "lm_head")
    assert [choice.of(named(name)) for name in names] == ["mxfp4", "int8", "bf16"]
    assert choice.unused([named("layer.0")]) == ["*head*", "lm_head"]


def test_fewer_bytes() -> None:
    """4-bit weights are read from memory, not expanded ones."""
    sizes = {c: compiled(wide_decoder(), TINY, c).hbm_bytes for c in ("bf16", "fp8", "mxfp4")}
    assert sizes["bf16"] > sizes["fp8"] > sizes["mxfp4"]


@pytest.mark.parametrize("choice", ["mxfp4", "int4", "mxfp8"])
@pytest.mark.parametrize("shape", [(70, 45), (96, 3)])
def test_auto_finds_the_format_that_weights_arrive_in(choice: str, shape: tuple[int, int]) -> None:
    arrived = quantise(matrix(shape, 6), choice)
    assert narrowest(decoded(arrived).astype(np.float32)) == choice
    assert narrowest(matrix(shape, 6)) == "bf16"


def test_models_in_4_bits_stay_in_4_bits() -> None:
    """Blocks of 32 with scales that bf16 rounds, and a last product in fp32."""
    model = load_model(model_path("stories260k/int4_qdq"))
    images = [compiled(model, TINY, choice) for choice in ("auto", "bf16", "int4")]
    formats = {op.get("wf") for op in images[0].ops() if op.mnemonic == "matmul"}
    assert formats == {"bf16", "i4"}
    sizes = [totals(costs(image))["hbm_read"] for image in images]
    assert sizes[2] < sizes[0] < sizes[1] / 2
    ids = rng(4).integers(3, 400, 20)
    wanted, found, coarse = (
        Session(images[i], make_backend("functional")).step(ids) for i in (1, 0, 2)
    )
    # One more rounding, of scales, in each of the four products in a row of each of five layers.
    assert np.abs(found - wanted).mean() < 20 * BOUND / 7 * wanted.std()
    assert np.abs(coarse - wanted).mean() > np.abs(found - wanted).mean()
