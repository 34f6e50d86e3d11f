"""Programs with slots: what several sequences give together is what each gives alone."""

import numpy as np
import pytest

from compiler.canonical import canonicalise
from compiler.errors import CompileError
from compiler.importer import load_model
from compiler.pipeline import compile_graph
from compiler.storage import Storage
from isa.image import ProgramImage, load_image, save_image
from sim.backends import make_backend
from sim.check import check_image
from sim.host import InputError
from sim.runtime import Session
from sim.slots import Slots
from tests.compiler.decoder import decoder
from tests.compiler.models import model_path
from tests.compiler.test_compiled import BOUND, ODD, TINY, reference
from tests.compiler.test_encoders import encoder
from tests.compiler.test_integers import quantised
from tests.compiler.test_tiles import CONTEXT, DECODERS, inputs_of
from tests.support import rng

TILE = 32


def program(name: str, slots: int = 0, pages: int = 0, loops: str = "never") -> ProgramImage:
    graph = canonicalise(load_model(model_path(name)), 160, "model")
    storage = Storage(slots=slots, pages=pages, loops=loops)
    image = compile_graph(graph, TINY, storage=storage, tile=TILE)
    assert check_image(image) > 0
    return image


def small(model, slots: int = 3, pages: int = 0, config=TINY) -> ProgramImage:
    graph = canonicalise(model, CONTEXT, "model")
    storage = Storage(slots=slots, pages=pages)
    image = compile_graph(graph, config, storage=storage, tile=TILE)
    assert check_image(image) > 0
    return image


def feed(slots: Slots, slot: int, ids: np.ndarray) -> np.ndarray:
    """A prompt in parts: the logits of all its tokens."""
    parts = [ids[i : i + 7] for i in range(0, len(ids), 7)]
    logits = np.concatenate([slots.step({slot: part})[slot] for part in parts])
    assert np.isfinite(logits).all()
    return logits


class Alone:
    """The same sequence on a program of its own, token by token the likeliest."""

    def __init__(self, image: ProgramImage, prompt: np.ndarray) -> None:
        self.session = Session(image, make_backend("functional"))
        self.logits = self.session.step(prompt)
        self.token = int(self.logits[-1].argmax())

    def go_on(self) -> np.ndarray:
        self.logits = self.session.step([self.token])
        self.token = int(self.logits[-1].argmax())
        return self.logits


@pytest.mark.parametrize("loops", ["never", "always"])
def test_sequences_give_together_what_they_give_alone(loops: str) -> None:
    """Four of different lengths, token for token and bit for bit; one leaves, and another joins in
    its slot and its pages. There are fewer pages than four whole contexts need."""
    name, random = "stories260k/optimum_op18", rng(6)
    plain = program(name)
    slots = Slots(program(name, 4, 11, loops), make_backend("functional"))
    prompts = [random.integers(3, 512, count) for count in (5, 61, 90, 1)]
    alone = {slots.join(): Alone(plain, prompt) for prompt in prompts}
    for slot, prompt in enumerate(prompts):
        np.testing.assert_array_equal(feed(slots, slot, prompt)[-1], alone[slot].logits[-1])
    for step in range(12):
        if step == 6:
            slots.leave(1)
            prompt = random.integers(3, 512, 40)
            assert slots.join() == 1
            alone[1] = Alone(plain, prompt)
            np.testing.assert_array_equal(feed(slots, 1, prompt), alone[1].logits)
        found = slots.step({slot: [one.token] for slot, one in alone.items()})
        for slot, one in alone.items():
            np.testing.assert_array_equal(found[slot], one.go_on(), err_msg=f"slot {slot}")
    assert [slots.past(slot) for slot in slots.sequences] == [17, 46, 102, 13]


def test_prompts_and_single_tokens_go_together() -> None:
    """One launch: a part of a prompt here, across the end of a page, one token there."""
    slots = Slots(small(DECODERS["causal"]()), make_backend("functional"))
    plain = compile_graph(canonicalise(DECODERS["causal"](), CONTEXT, "m"), TINY, tile=TILE)
    ids, short = rng(3).integers(0, 19, 34), rng(4).integers(0, 19, 9)
    one, two, three = slots.join(), slots.join(), slots.join()
    feed(slots, one, ids[:29])
    feed(slots, three, short[:8])
    found = slots.step({one: ids[29:], two: [5], three: short[8:]})
    for slot, whole in ((one, ids), (two, np.array([5])), (three, short)):
        wanted = Session(plain, make_backend("functional")).step(whole)
        np.testing.assert_array_equal(found[slot], wanted[-len(found[slot]) :])


@pytest.mark.parametrize("config", [TINY, ODD], ids=lambda config: config.name)
@pytest.mark.parametrize("kind", DECODERS)
def test_kinds_of_attention(kind: str, config) -> None:
    """Each slot's tokens have the bits that a program without slots gives them, which `test_tiles`
    compares with onnxruntime."""
    model = DECODERS[kind]()
    graph = canonicalise(model, CONTEXT, "model")
    plain = Session(compile_graph(graph, config, tile=TILE), make_backend("functional"))
    slots = Slots(small(model, 2, 0, config), make_backend("functional"))
    texts = [rng(seed).integers(0, 19, count) for seed, count in ((1, 75), (2, 40))]
    found = [[feed(slots, slots.join(), ids[:-3])] for ids in texts]
    for place in (-3, -2, -1):
        step = slots.step({slot: [ids[place]] for slot, ids in enumerate(texts)})
        for slot, logits in step.items():
            found[slot].append(logits)
    for ids, parts in zip(texts, found, strict=True):
        plain.reset()
        np.testing.assert_array_equal(np.concatenate(parts), plain.step(ids))


def test_one_sequence_needs_to_know_nothing_of_slots() -> None:
    """A session's arrays go to slot 0."""
    model = DECODERS["causal"]()
    session, expected = Session(small(model), make_backend("functional")), reference(model)
    for new, past in [(1, 0), (5, 29), (8, 91), (1, 156)]:
        inputs = inputs_of(model, new, past)
        found = session.run(inputs)
        for output, wanted in zip(expected.get_outputs(), expected.run(None, inputs), strict=True):
            error = np.abs(found[output.name] - wanted).mean()
            assert error < BOUND * wanted.std(), (output.name, new, past)


def test_slots_are_identical_on_rtl() -> None:
    """Every bit of the memory, the pages among it."""
    image = small(DECODERS["softcap, bias and window"]())
    both = [Slots(image, make_backend(name)) for name in ("functional", "rtl")]
    texts = [rng(seed).integers(0, 19, count) for seed, count in ((1, 70), (2, 3), (3, 35))]
    for slots in both:
        for slot, ids in enumerate(texts):
            slots.join()
            feed(slots, slot, ids)
        slots.step({0: [1], 2: [2, 3]})
    np.testing.assert_array_equal(both[0].hbm, both[1].hbm)


def test_images_keep_their_slots(tmp_path) -> None:
    image = small(decoder())
    save_image(image, tmp_path / "slots.jx")
    assert load_image(tmp_path / "slots.jx").io == image.io
    assert image.io.slots.count == 3
    assert image.io.slots.pages == 3 * 5  # of 32 tokens, for 157


def test_refuse_what_there_is_no_room_for() -> None:
    slots = Slots(small(decoder(), 3, 5), make_backend("functional"))
    one, two, three = slots.join(), slots.join(), slots.join()
    with pytest.raises(InputError, match=r"^all 3 slots of the program are taken$"):
        slots.join()
    with pytest.raises(InputError, match=r"^a launch takes 1 … 8 new tokens of all slots, not 9$"):
        slots.step({one: [1] * 8, two: [1]})
    with pytest.raises(InputError, match=r"^a launch takes 1 … 8 new tokens of all slots, not 0$"):
        slots.step({one: []})
    with pytest.raises(InputError, match="must be 0 … 18, not 19"):
        slots.step({one: [19]})
    feed(slots, one, np.ones(128, int))
    slots.step({two: [1]})
    with pytest.raises(InputError, match=r"^1 more pages are needed, 0 of 5 are free$"):
        slots.step({two: [1], three: [1]})
    assert slots.past(two) == 1
    slots.leave(one)
    slots.step({two: [1], three: [1]})
    with pytest.raises(InputError, match=r"^slot 0 holds no sequence$"):
        slots.step({one: [1]})
    feed(slots, two, np.ones(60, int))
    whole = Slots(small(decoder(), 1), make_backend("functional"))
    feed(whole, whole.join(), np.ones(157, int))
    with pytest.raises(InputError, match=r"^slot 0: 158 tokens exceed the program's context"):
        whole.step({0: [1]})


def test_refuse_programs_without_slots() -> None:
    plain = compile_graph(canonicalise(decoder(), 40, "m"), TINY)
    with pytest.raises(InputError, match="compiled without --slots: it takes one sequence"):
        Slots(plain, make_backend("functional"))


REFUSED = {
    "an encoder has no cache that goes on": encoder,
    "its numbers depend on all tokens of a launch": quantised,
}


@pytest.mark.parametrize("message", REFUSED)
def test_refuse_models_that_cannot_share_a_program(message: str) -> None:
    with pytest.raises(CompileError, match=f"--slots 3: {message}"):
        small(REFUSED[message]())


def test_refuse_more_slots_than_a_pass_has_tokens() -> None:
    with pytest.raises(CompileError, match=r"^model: --slots 9: a pass has at most 8 tokens"):
        small(decoder(), 9)


def test_refuse_too_few_pages() -> None:
    message = r"^model: --pages 4: a context of 157 and a page for each slot take 5$"
    with pytest.raises(CompileError, match=message):
        small(decoder(), 3, 4)
