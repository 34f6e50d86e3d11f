"""Programs that choose tokens themselves: against the host's choice from the same logits."""

from dataclasses import replace

import numpy as np
import pytest

from compiler.canonical import canonicalise
from compiler.importer import load_model
from compiler.pipeline import compile_graph
from isa.config import load_config
from isa.image import ProgramImage
from sim.backends import make_backend
from sim.check import check_image
from sim.generate import greedy
from sim.host import InputError
from sim.runtime import Session
from sim.verify import verify
from tests.compiler.decoder import HEADS, MODEL, VOCABULARY, decoder
from tests.compiler.models import model_path
from tests.compiler.test_compiled import ODD, TINY, WIDE
from tests.compiler.test_encoders import encoder_of
from tests.support import rng

PROMPT = [1, 403, 407, 261, 378]


def stories(context: int) -> ProgramImage:
    model = load_model(model_path("stories260k/optimum_op18"))
    return compile_graph(canonicalise(model, context, "stories"), TINY)


def session(image: ProgramImage, backend: str = "functional") -> Session:
    return Session(image, make_backend(backend))


@pytest.fixture(scope="module")
def image() -> ProgramImage:
    found = stories(64)
    assert check_image(found) > 0
    return found


@pytest.fixture(scope="module")
def wanted(image: ProgramImage) -> list[int]:
    """What the host chooses, until the context is full."""
    return list(greedy(session(image), PROMPT, 100, set()))


def test_one_launch_chooses_what_the_host_would(image: ProgramImage, wanted: list[int]) -> None:
    one = session(image)
    assert one.choose(PROMPT, 40) == wanted[:40]
    assert one.past == len(PROMPT) + 39
    assert one.runs == 1
    assert one.choose(wanted[39:40], 7) == wanted[40:47]


@pytest.mark.parametrize("launch", [2, 5, 64])
def test_launches_make_up_the_same_text(image: ProgramImage, wanted: list[int], launch: int):
    assert list(greedy(session(image), PROMPT, 33, set(), launch)) == wanted[:33]
    assert list(greedy(session(image), PROMPT, 100, set(), launch)) == wanted


def test_a_launch_ends_behind_a_stop_token(image: ProgramImage, wanted: list[int]) -> None:
    stops = [500, wanted[20], wanted[12]]
    end = min(wanted.index(stop) for stop in stops[1:])
    assert session(image).choose(PROMPT, 40, stops) == wanted[: end + 1]
    assert session(image).choose(PROMPT, 40, wanted[:1]) == wanted[:1]
    assert list(greedy(session(image), PROMPT, 40, set(stops), 16)) == wanted[:end]


def test_a_launch_ends_where_the_context_is_full(image: ProgramImage, wanted: list[int]) -> None:
    assert len(wanted) == 64 - len(PROMPT) + 1
    full = session(image)
    assert full.choose(PROMPT, 1000) == wanted
    assert full.past == 64
    full.reset()
    ids = np.array(wanted)[np.arange(64) % len(wanted)]
    assert len(full.choose(ids, 5)) == 1


def test_without_a_wish_nothing_is_chosen(image: ProgramImage) -> None:
    """A launch for its logits is as it was, also after one that chose."""
    one, other = session(image), session(image)
    one.choose(PROMPT, 3)
    one.reset()
    np.testing.assert_array_equal(one.step(PROMPT), other.step(PROMPT))
    assert one.past == other.past == len(PROMPT)


@pytest.mark.parametrize("config", [TINY, ODD, WIDE], ids=lambda config: config.name)
def test_of_equal_logits_the_first_one_wins(config) -> None:
    """All columns of the head come twice; the vocabulary is no whole number of vectors."""
    half = rng(3).standard_normal((MODEL, VOCABULARY // 2)).astype(np.float32)
    half = half[:, rng(4).permutation(VOCABULARY // 2)]
    head = np.concatenate([half, half, half[:, :1]], axis=1)
    model = decoder({"head": head})
    assert HEADS * 4 == MODEL
    image = compile_graph(canonicalise(model, 40, "twice"), config)
    assert check_image(image) > 0
    found = session(image).choose([3, 11, 5], 30)
    assert found == list(greedy(session(image), [3, 11, 5], 30, set()))
    assert max(found) < VOCABULARY // 2


def test_a_launch_is_identical_on_rtl(image: ProgramImage, wanted: list[int]) -> None:
    pair = [session(image, backend) for backend in ("functional", "rtl")]
    for each in pair:
        assert each.choose(PROMPT, 12, [wanted[9]]) == wanted[: wanted.index(wanted[9]) + 1]
        np.testing.assert_array_equal(each.hbm, pair[0].hbm)
    print(f"{pair[1].cycles} cycles")


def test_verify_compares_a_launch(image: ProgramImage) -> None:
    """One run that prefills and chooses, on both back ends; its instructions are those of the
    prefill and of each step, and those that choose."""
    backends = make_backend("functional"), make_backend("rtl")
    (launch,) = verify(image, backends, 8, PROMPT, launch=5)
    pair = make_backend("functional"), make_backend("functional")
    steps = list(verify(image, pair, 4, PROMPT))
    assert launch.difference is None
    matmuls = [run.first.counters["matrix_instructions"] for run in (launch, *steps)]
    assert matmuls[0] == sum(matmuls[1:])
    with pytest.raises(InputError, match="5 tokens and --launch 61 exceed the program's context"):
        next(verify(image, backends, 8, PROMPT, launch=61))


def test_programs_that_cannot_choose_say_so(image: ProgramImage) -> None:
    encoder = compile_graph(canonicalise(encoder_of("every third"), 16, "encoder"), TINY)
    assert encoder.io.generation is None
    with pytest.raises(InputError, match="cannot choose tokens"):
        session(encoder).choose([1, 2], 3)
    with pytest.raises(InputError, match="at most 4 stop tokens, not 5"):
        session(image).choose([1, 2], 3, [1, 2, 3, 4, 5])


def test_tokens_that_may_not_be_read_are_not_chosen() -> None:
    """Logits of more tokens than the embedding has rows; ids that stand for padding."""
    head = rng(5).standard_normal((MODEL, VOCABULARY + 1)).astype(np.float32)
    more = canonicalise(decoder({"head": head}), 16, "more")
    assert compile_graph(more, TINY).io.generation is None
    padded = replace(canonicalise(decoder(), 16, "padded"), excluded={"input_ids": [4]})
    assert compile_graph(padded, TINY).io.generation is None
    plain = compile_graph(canonicalise(decoder(), 16, "plain"), TINY)
    assert plain.io.generation is not None


def test_server_chooses_too(image: ProgramImage) -> None:
    """Vectors and lines of another width."""
    model = load_model(model_path("glass_en/optimum_op18"))
    image = compile_graph(canonicalise(model, 40, "glass"), load_config("server"))
    ids = [494, 160, 729, 633, 111]
    assert session(image).choose(ids, 20) == list(greedy(session(image), ids, 20, set()))
