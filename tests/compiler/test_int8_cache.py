"""A KV cache in int8: scales by calibration, codes against float64, models that round their keys
and values themselves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from compiler.calibrate import with_int8_cache
from compiler.canonical import canonicalise
from compiler.errors import CompileError
from compiler.graph import Graph, Output, Tensor
from compiler.importer import load_model
from compiler.pipeline import compile_graph
from compiler.storage import Storage
from isa.config import ChipConfig
from isa.image import ProgramImage, load_image, save_image
from sim.backends import make_backend
from sim.check import check_image
from sim.runtime import Session
from sim.slots import Slots
from tests.compiler.decoder import decoder, decoder_without_cache, feeds, past_of
from tests.compiler.models import model_path
from tests.compiler.quantised import static
from tests.compiler.test_compiled import BOUND, ODD, TINY, WIDE, reference
from tests.compiler.test_encoders import ALL, NORM, encoder
from tests.compiler.test_integers import quantised
from tests.compiler.test_layers import outputs
from tests.support import rng

IDS = tuple(rng(9).integers(0, 19, 100).tolist())  # two windows of the context
CONTEXT = 64


def graph_of(model: onnx.ModelProto, context: int = CONTEXT) -> Graph:
    return canonicalise(model, context, "model")


def program(
    graph: Graph,
    config: ChipConfig = TINY,
    ids: tuple[int, ...] = IDS,
    tile: int = 0,
    **storage: object,
) -> ProgramImage:
    kept = Storage(kv="int8", calibration=ids, **storage)
    image = compile_graph(graph, config, storage=kept, tile=tile)
    assert check_image(image) > 0
    return image


def on_chip(image: ProgramImage) -> Session:
    return Session(image, make_backend("functional"))


def codes(session: Session, count: int) -> list[np.ndarray]:
    """Each layer's keys, then values, of the first tokens, as they lie in memory: (count, heads,
    width)."""
    found = []
    for t in session.image.io.of_kind("kv"):
        rows = session.hbm[t.address :][: count * t.row_bytes].reshape(count, t.row_bytes)
        rows = rows[:, : t.groups * t.group_step()].reshape(count, t.groups, t.group_step())
        found.append(rows[:, :, : t.width].view(np.int8))
    return found


def scales_of(image: ProgramImage) -> list[np.ndarray]:
    """Keys', then values': (heads, 1, 1) float64."""
    return [np.array(tensor.scales)[:, None, None] for tensor in image.io.of_kind("kv")]


def shown(graph: Graph) -> Graph:
    """The graph with new keys and values among its outputs, in fp32, before they are rounded."""
    (op,) = [op for op in graph.ops if op.kind == "attention"]
    new = [x for x in op.inputs[1:3] if isinstance(x, Tensor)]
    more = [Output(name, x, 1) for name, x in zip(("new_k", "new_v"), new, strict=True)]
    return replace(graph, outputs=(*graph.outputs, *more))


@pytest.mark.parametrize("config", [TINY, ODD, WIDE], ids=lambda config: config.name)
def test_codes_are_the_nearest_whole_numbers(config: ChipConfig) -> None:
    """Of x / scale in float64, but where that is nearer to a middle than two roundings to fp32 (of
    the reciprocal, of the product) can be off: 127 · 2^-23."""
    image = program(shown(graph_of(decoder())), config)
    session, model = on_chip(image), decoder()
    found = session.run(feeds(model, rng(1).integers(0, 19, 33), past_of(model, 0, rng(1))))
    for part, name, scale in zip(
        codes(session, 33), ("new_k", "new_v"), scales_of(image), strict=True
    ):
        exact = found[name].reshape(33, 2, 4).astype(np.float64) / scale[:, 0]
        off = 127 * 2.0**-23
        assert (np.abs(part - np.clip(exact, -127, 127)) <= 0.5 + off).all()
        clear = np.abs(np.abs(exact - np.floor(exact)) - 0.5) > off
        np.testing.assert_array_equal(part[clear], np.clip(np.rint(exact), -127, 127)[clear])
        assert clear.mean() > 0.99
        assert np.abs(part).max() > 100  # the whole range is used


def test_ties_and_what_is_beyond_the_range() -> None:
    """Whole numbers up to 254 make a scale of 2: odd ones lie in the middle. What no calibration
    has seen saturates at 127 steps, on both sides."""
    numbers = rng(2).integers(-254, 255, (19, 24)).astype(np.float32)
    numbers[7, :8] = [254, -254, 3, 5, 253, -253, 254, 1]
    numbers[18, :8] = [256, -256, 255, -255, 500, -500, 256, -256]
    pick = np.eye(24, 8, dtype=np.float32)
    extra = {"table": numbers, "wv": pick, "gain": np.ones(24, np.float32)}
    tame = (0,) * CONTEXT  # the largest ones are neither in the first window nor in the last
    image = program(graph_of(decoder(extra)), ids=(*tame, *range(18), *tame))
    session = on_chip(image)
    ids = np.arange(19)
    session.step(ids)
    np.testing.assert_array_equal(scales_of(image)[1].reshape(-1), [2.0, 2.0])
    exact = numbers[:, :8].astype(np.float64).reshape(19, 2, 4) / 2
    assert (exact % 1 == 0.5).mean() > 0.3
    values = codes(session, 19)[1]
    np.testing.assert_array_equal(values, np.clip(np.rint(exact), -127, 127))
    assert values[18].reshape(-1).tolist() == [127, -127] * 4


def rounding(scales: list[np.ndarray]) -> tuple[dict[str, np.ndarray], str]:
    """Constants and nodes that make k_rounded and v_rounded of k and v."""
    steps = {f"{x}_step": s.astype(np.float32) for x, s in zip("kv", scales, strict=True)}
    ends = {"least": np.float32(-127), "most": np.float32(127)}
    nodes = "".join(
        f"""{x}_1 = Div({x}, {x}_step)  {x}_2 = Round({x}_1)  {x}_3 = Clip({x}_2, least, most)
            {x}_rounded = Mul({x}_3, {x}_step) """
        for x in "kv"
    )
    return steps | ends, nodes


CACHE = """present_0_key = Concat<axis = 2>(past_0_key, k_rounded)
           present_0_value = Concat<axis = 2>(past_0_value, v_rounded)"""


@pytest.mark.parametrize("tile", [0, 32])
@pytest.mark.parametrize("config", [TINY, ODD, WIDE], ids=lambda config: config.name)
def test_decoders_agree_with_onnxruntime(config: ChipConfig, tile: int) -> None:
    """With a model that rounds its keys and values in the same way. An error of bf16 in front of
    the rounding comes out of it, on average, as large as it went in, sometimes as a whole step: one
    more rounding each, of keys and of values. A given past is rounded by the host."""
    image = program(graph_of(decoder()), config, tile=tile)
    session, scales = on_chip(image), scales_of(image)
    extra, nodes = rounding(scales)
    expected, pairs = reference(decoder(extra, cache=nodes + CACHE)), []
    for new, past in [(1, 0), (5, 0), (3, 7), (17, 9), (1, 63), (40, 20)]:
        random = rng(100 * new + past)
        caches = past_of(decoder(), past, random)
        ids = random.integers(0, 19, new)
        found = session.run(feeds(decoder(), ids, caches))
        inside = [
            np.clip(np.rint(x.astype(np.float64) / s), -127, 127)
            for x, s in zip(caches.values(), scales, strict=True)
        ]
        for part, whole in zip(codes(session, past), inside, strict=True):
            np.testing.assert_array_equal(part, whole[0].transpose(1, 0, 2))
        given = [(x * s).astype(np.float32) for x, s in zip(inside, scales, strict=True)]
        inputs = feeds(decoder(), ids, dict(zip(caches, given, strict=True)))
        wanted = expected.run(None, inputs)
        pairs.append((found["logits"][0], wanted[0][0]))
        for name, x in zip(("present_0_key", "present_0_value"), given, strict=True):
            np.testing.assert_allclose(found[name][:, :, :past], x, rtol=2.0**-23)
    actual, right = (np.concatenate(rows) for rows in zip(*pairs, strict=True))
    assert np.abs(actual - right).mean() / right.std() < BOUND * 9 / 7


@pytest.mark.parametrize("config", [TINY, WIDE], ids=lambda config: config.name)
def test_encoders_agree_with_onnxruntime(config: ChipConfig) -> None:
    """Their caches are shown nowhere; lengths of several chunks."""
    image = program(graph_of(encoder()), config)
    extra, nodes = rounding(scales_of(image))
    cache = nodes + "present_0_key = Identity(k_rounded) present_0_value = Identity(v_rounded)"
    model = decoder_without_cache(extra, mask=ALL, feature=NORM, cache=cache)
    session, expected, pairs = on_chip(image), reference(model), []
    for length in (1, 7, 9, 30, 64):
        inputs = feeds(model, rng(length).integers(0, 19, length), {})
        pairs.append((session.run(inputs)["logits"][0], expected.run(None, inputs)[0][0]))
    actual, right = (np.concatenate(rows) for rows in zip(*pairs, strict=True))
    assert np.abs(actual - right).mean() / right.std() < BOUND * 9 / 7


def test_a_given_past_saturates() -> None:
    """Far beyond what calibration has seen, on both sides."""
    image, random = program(graph_of(decoder())), rng(8)
    session, past = on_chip(image), past_of(decoder(), 20, rng(8))
    caches = {name: (x * 100).astype(np.float32) for name, x in past.items()}
    session.run(feeds(decoder(), random.integers(0, 19, 3), caches))
    for part, x, scale in zip(codes(session, 20), caches.values(), scales_of(image), strict=True):
        exact = np.clip(np.rint(x[0].astype(np.float64) / scale), -127, 127)
        np.testing.assert_array_equal(part, exact.transpose(1, 0, 2))
        assert {part.min(), part.max()} == {-127, 127}


def test_factors_are_rows() -> None:
    """One number alone would be an immediate, and layers of one key head no loop."""
    graph = graph_of(decoder())
    made = with_int8_cache(graph, Storage(kv="int8", stored=False), compile_graph)
    sizes = [x.shape for name, x in made.constants.items() if name not in graph.constants]
    assert sorted(sizes) == [(2, 4), (2, 4), (6, 4), (6, 4)]


def test_what_comes_back_stays_what_it_is() -> None:
    """Keys and values that a run gave are the same codes when they are given."""
    session, model = on_chip(program(graph_of(decoder()))), decoder()
    first = session.run(feeds(model, rng(3).integers(0, 19, 30), past_of(model, 0, rng(3))))
    before = [part.copy() for part in codes(session, 30)]
    past = {name.replace("present", "past"): x for name, x in first.items() if name != "logits"}
    session.run(feeds(model, np.array([5]), past))
    for part, wanted in zip(codes(session, 30), before, strict=True):
        np.testing.assert_array_equal(part, wanted)


@pytest.mark.parametrize("name", ["stories260k/optimum_op18", "exporters/gpt2/optimum_op18"])
def test_layers_are_still_one_loop(name: str) -> None:
    """Each layer has scales of its own; every bit is that of layer after layer. gpt2 has as many
    key heads as query heads."""
    graph = canonicalise(load_model(model_path(name)), 48, name)
    ids = tuple(rng(5).integers(3, 60, 40).tolist())
    images = [program(graph, ids=ids, loops=loops) for loops in ("never", "always")]
    assert len({t.scales for t in images[0].io.of_kind("kv")}) > 2
    assert len(images[1].code) < len(images[0].code) / 1.3
    for wanted, found in zip(*map(outputs, images), strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_slots_give_what_a_program_of_one_sequence_gives() -> None:
    graph = graph_of(decoder(), 157)
    slots = Slots(program(graph, tile=32, slots=3), make_backend("functional"))
    plain = on_chip(program(graph, tile=32))
    texts = [rng(seed).integers(0, 19, count) for seed, count in ((1, 70), (2, 3), (3, 35))]
    for slot, ids in enumerate(texts):
        slots.join()
        parts = [slots.step({slot: ids[i : i + 7]})[slot] for i in range(0, len(ids), 7)]
        plain.reset()
        np.testing.assert_array_equal(np.concatenate(parts), plain.step(ids))


def test_the_cache_is_half_as_large() -> None:
    """Where rows are no shorter than a beat of the memory."""
    images = [compile_graph(graph_of(decoder()), WIDE), program(graph_of(decoder()), WIDE)]
    sizes = [sum(t.end - t.address for t in image.io.of_kind("kv")) for image in images]
    assert sizes[0] == 2 * sizes[1]


def test_images_keep_their_scales(tmp_path: Path) -> None:
    image = program(graph_of(decoder()))
    save_image(image, tmp_path / "kept.jx")
    assert load_image(tmp_path / "kept.jx").io == image.io


def test_models_that_round_their_keys_need_no_calibration() -> None:
    """What QuantizeLinear made has 8 bits as it is: bit for bit what bf16 holds."""
    model = static(decoder(), extra_options={"ActivationSymmetric": True})
    graph = graph_of(model)
    images = [program(graph, ids=()), compile_graph(graph, TINY)]
    assert [image.io.of_kind("kv")[0].dtype for image in images] == ["i8", "bf16"]
    inputs = feeds(model, rng(3).integers(0, 19, 9), past_of(model, 5, rng(3)))
    one, other = (on_chip(image).run(inputs) for image in images)
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)
    with pytest.raises(CompileError, match=r"layer 0 to whole numbers fp8 cannot hold"):
        compile_graph(graph, TINY, storage=Storage(kv="fp8"))


def test_programs_without_weights_take_as_many_instructions() -> None:
    timed = program(graph_of(decoder()), ids=(), stored=False)
    whole = program(graph_of(decoder()))
    assert len(timed.code) == len(whole.code)


def test_models_whose_numbers_depend_on_all_tokens() -> None:
    """They read the text at once, more of it than a pass has tokens. Largest keys and values are
    onnxruntime's but for the roundings of what is multiplied, two to bf16; the largest sums cancel
    little: their terms' magnitudes add up to less than twice as much."""
    model, ids = quantised(), np.array(IDS[:CONTEXT])
    image = program(graph_of(model), ids=IDS[:CONTEXT])
    assert image.io.most_new == 0
    _, *caches = reference(model).run(None, feeds(model, ids, past_of(model, 0, rng(0))))
    for scales, x in zip(scales_of(image), caches, strict=True):
        tops = np.abs(x).max(axis=(0, 2, 3))
        np.testing.assert_allclose(scales.reshape(-1), tops / 127, rtol=2 * 2 * 2.0**-9)
