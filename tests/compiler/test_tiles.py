"""Attention to keys in tiles: against onnxruntime and against all keys at once."""

from collections.abc import Mapping

import ml_dtypes
import numpy as np
import onnx
import pytest

from compiler.canonical import canonicalise
from compiler.errors import CompileError
from compiler.importer import load_model
from compiler.pipeline import compile_graph
from compiler.storage import Storage
from compiler.tiles import least_tile
from isa.config import ChipConfig
from isa.image import ProgramImage
from sim.backends import make_backend
from sim.check import check_image
from sim.runtime import Session
from tests.compiler.decoder import PARTS, decoder, decoder_without_cache, feeds, past_of
from tests.compiler.models import model_path
from tests.compiler.test_attention import KIND_EXTRA, KINDS, SEEN, SINKS
from tests.compiler.test_compiled import BOUND, ODD, TINY, WIDE, reference, same_wherever_cut
from tests.compiler.test_encoders import ALL as ALL_SEEN, BANDS, NORM, encoder, encoder_of
from tests.compiler.test_integers import quantised
from tests.compiler.test_kv_cache import rounded_cache
from tests.support import rng

TILE, CONTEXT = 32, 157
SIZES = [(1, 0), (1, 31), (1, 32), (3, 30), (17, 9), (40, 60), (66, 91), (1, 156)]
ONLY_NEW = [(n, 0) for n in (32, 33, 100, 157)]
LENGTHS = [(n, 0) for n in (1, 7, 31, 32, 33, 45)]


def tiled(
    model: onnx.ModelProto, config: ChipConfig = TINY, tile: int = TILE, kv: str = "bf16"
) -> ProgramImage:
    graph = canonicalise(model, CONTEXT, "model")
    image = compile_graph(graph, config, storage=Storage(kv=kv), tile=tile)
    assert image.meta["tile"] == tile
    assert check_image(image) > 0
    return image


def on_chip(image: ProgramImage) -> Session:
    return Session(image, make_backend("functional"))


def inputs_of(model: onnx.ModelProto, new: int, past: int) -> Mapping[str, np.ndarray]:
    random = rng(100 * new + past)
    return feeds(model, random.integers(0, 19, new), past_of(model, past, random))


def mean_error(model: onnx.ModelProto, session: Session, sizes: list[tuple[int, int]]) -> float:
    """Of the logits of all ``sizes`` together, relative to their deviation."""
    expected, pairs = reference(model), []
    for new, past in sizes:
        inputs = inputs_of(model, new, past)
        pairs.append((session.run(inputs)["logits"][0], expected.run(["logits"], inputs)[0][0]))
    actual, wanted = (np.concatenate(rows) for rows in zip(*pairs, strict=True))
    return float(np.abs(actual - wanted).mean() / wanted.std())


def in_norm(kind: str) -> onnx.ModelProto:
    """A kind of attention behind a norm, so that scores are small: e^x multiplies the error of x by
    x, and the more keys there are, the larger is the largest score."""
    return decoder(KIND_EXTRA, **{"feature": NORM, **KINDS[kind][0]})


FIRST_FOUR = PARTS["mask"].replace(
    SEEN,
    "seen = LessOrEqual(index, rows_t) early = Less(index, four_) allowed = And(seen, early)",
)
EARLY = {"four_": np.array(4, np.int64)}
DECODERS = {
    "causal": lambda: decoder(feature=NORM),
    "first four keys": lambda: decoder(EARLY, feature=NORM, mask=FIRST_FOUR),
    **{kind: lambda kind=kind: in_norm(kind) for kind in KINDS},
}
ENCODERS = {
    "encoder": encoder,
    **{f"encoder, {name}": lambda name=name: encoder_of(name) for name in BANDS},
    "encoder, sinks": lambda: decoder_without_cache(
        KIND_EXTRA, mask=ALL_SEEN, feature=NORM, scores=SINKS
    ),
}
ALL = DECODERS | ENCODERS


@pytest.mark.parametrize("config", [TINY, ODD, WIDE], ids=lambda config: config.name)
@pytest.mark.parametrize("kind", DECODERS)
def test_decoders_agree_with_onnxruntime(kind: str, config: ChipConfig) -> None:
    """Prefill and decode before, at and across the ends of tiles. Of "first four keys" most tiles
    hold no key that is seen, the newest among them."""
    model = DECODERS[kind]()
    assert mean_error(model, on_chip(tiled(model, config)), SIZES) < BOUND


@pytest.mark.parametrize("config", [TINY, WIDE], ids=lambda config: config.name)
@pytest.mark.parametrize("kind", ENCODERS)
def test_encoders_agree_with_onnxruntime(kind: str, config: ChipConfig) -> None:
    model = ENCODERS[kind]()
    assert mean_error(model, on_chip(tiled(model, config)), LENGTHS) < BOUND


@pytest.mark.parametrize("kind", ALL)
def test_tiles_change_roundings_only(kind: str) -> None:
    """Weights are rounded to bf16 relative to other maxima: by at most 2^-8, on average by 2^-9, in
    either program. What is rounded after that (inputs of the output and of the head) may fall to
    the other side, by as much again each."""
    model, sizes = ALL[kind](), SIZES if kind in DECODERS else ONLY_NEW
    whole = compile_graph(canonicalise(model, CONTEXT, "model"), TINY)
    assert whole.meta["tile"] == 0
    sessions = on_chip(whole), on_chip(tiled(model))
    for new, past in sizes:
        inputs = inputs_of(model, new, past)
        one, other = (session.run(inputs) for session in sessions)
        error = np.abs(one["logits"] - other["logits"]).mean()
        assert error < 4 * 2.0**-9 * one["logits"].std()
        if kind in DECODERS:
            np.testing.assert_array_equal(one["present_0_key"], other["present_0_key"])


def test_a_cache_in_fp8() -> None:
    """Two more roundings, those of keys and of values (`test_kv_cache` says why)."""
    model, kind = rounded_cache(feature=NORM), ml_dtypes.float8_e4m3fn
    session, expected = on_chip(tiled(decoder(feature=NORM), kv="fp8")), reference(model)
    for new, past in [(1, 31), (17, 90), (1, 156)]:
        inputs = inputs_of(model, new, past)
        inputs = {
            name: x.astype(kind).astype(np.float32) if name.startswith("past") else x
            for name, x in inputs.items()
        }
        (wanted,), found = expected.run(["logits"], inputs), session.run(inputs)["logits"]
        assert np.abs(found - wanted).mean() < BOUND * 9 / 7 * wanted.std()


@pytest.mark.parametrize("loops", ["never", "always"])
@pytest.mark.parametrize("tile", [TILE, 64])
def test_every_layer_begins_with_the_newest_tile(tile: int, loops: str) -> None:
    """A trained model of five layers, behind one tile, some, and just at their borders."""
    model = load_model(model_path("stories260k/optimum_op18"))
    graph = canonicalise(model, CONTEXT, "model")
    image = compile_graph(graph, TINY, storage=Storage(loops=loops), tile=tile)
    session, expected = on_chip(image), reference(model)
    inputs = {"input_ids": rng(6).integers(3, 512, (1, 131))}
    inputs["attention_mask"] = np.ones((1, 131), np.int64)
    inputs["position_ids"] = np.arange(131)[None]
    for value in expected.get_inputs():
        if value.name not in inputs:
            inputs[value.name] = np.zeros((1, 4, 0, 8), np.float32)
    wanted = expected.run(["logits"], inputs)[0][0]
    parts = np.split(inputs["input_ids"][0], [40, 63, 64, 65, 128])
    found = np.concatenate([session.step(part) for part in parts])
    assert np.abs(found - wanted).mean() <= BOUND * wanted.std()


def test_passes_may_be_cut_anywhere() -> None:
    """Tiles begin at multiples of their size, whatever comes at once: the bits are the same."""
    random = rng(8)
    graph = canonicalise(load_model(model_path("stories260k/optimum_op18")), 128, "model")
    session = on_chip(compile_graph(graph, TINY, tile=TILE))
    ids = random.integers(3, 512, 110)
    same_wherever_cut(session, ids)


def loaded_lines(image: ProgramImage, inputs: Mapping[str, np.ndarray]) -> int:
    session = on_chip(image)
    session.run(inputs)
    return session.counters["load_lines"]


def test_a_window_begins_with_its_own_tile() -> None:
    """Keys and values of the tiles before it are not fetched: 9 keys lie in at most two tiles, and
    one more tile of keys may be on its way."""
    model = in_norm("window")
    inputs = inputs_of(model, 1, 156)
    narrow, wide = (loaded_lines(tiled(m), inputs) for m in (model, DECODERS["causal"]()))
    assert wide - narrow >= 2 * 2 * TILE


def test_any_context_takes_the_same_room() -> None:
    """Program and SRAM do not grow with the context; what is fetched does."""
    graphs = [
        canonicalise(load_model(model_path("stories260k/dynamo_op20")), context, "model")
        for context in (2048, 65536)
    ]
    images = [compile_graph(graph, TINY) for graph in graphs]
    for name in ("sram_peak", "tile", "chunk"):
        assert images[0].meta[name] == images[1].meta[name], name
    assert images[0].meta["tile"] > 0
    assert len(images[0].code) == len(images[1].code)


@pytest.mark.parametrize("tile", [16, 48, -64])
def test_refuse_sizes_that_are_none(tile: int) -> None:
    with pytest.raises(CompileError, match=rf"^model: --tile {tile}: want a power of two from 32"):
        tiled(decoder(), tile=tile)


def test_refuse_tiles_where_all_tokens_count_at_once() -> None:
    with pytest.raises(CompileError, match="its numbers depend on all tokens of a launch"):
        tiled(quantised())


def test_the_least_tile_holds_a_chunk_anywhere() -> None:
    assert least_tile(TINY, 8) == 32
    assert least_tile(TINY, 64) == 128


def test_in_layers_that_are_a_loop() -> None:
    """The loop over tiles within the loop over layers: every bit is that of layer after layer."""
    graph = canonicalise(load_model(model_path("stories260k/optimum_op18")), 160, "model")
    ids, found = rng(4).integers(3, 512, 150), []
    for loops in ("never", "always"):
        image = compile_graph(graph, TINY, storage=Storage(loops=loops), tile=64)
        assert check_image(image) > 0
        session = on_chip(image)
        found.append([session.step(part) for part in (ids[:131], ids[131:149], ids[149:])])
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_window_of_more_keys_than_16_bits_count() -> None:
    """Its far end is that many keys before the first one: to the masks, a chunk before it."""
    wide = KIND_EXTRA | {"nine": np.array(40_000, np.int64)}
    model = decoder(wide, feature=NORM, **KINDS["window"][0])
    graph = canonicalise(model, 50_000, "model")
    (op,) = (op for op in graph.ops if op.kind == "attention")
    assert op.attributes["behind"] == 39_999
    session = on_chip(compile_graph(graph, TINY))
    assert mean_error(model, session, [(1, 0), (17, 9), (40, 60)]) < BOUND
