"""Compiled models and hand-written programs: RTL ≡ functional simulator, in every bit."""

from pathlib import Path

import numpy as np
import pytest

from compiler.canonical import canonicalise
from compiler.importer import load_model
from compiler.pipeline import compile_graph
from isa.assembler import assemble_file
from isa.config import load_config
from isa.image import ProgramImage
from isa.table import INSTRUCTIONS
from sim.backends import make_backend
from sim.check import check_image
from sim.runtime import Session
from sim.verify import verify
from tests.compiler.decoder import decoder
from tests.compiler.models import model_path
from tests.compiler.quantised import static
from tests.compiler.test_arrange import rotated
from tests.compiler.test_attention import kind_of_attention
from tests.compiler.test_encoders import encoder_of
from tests.compiler.test_experts import FORMS, mixture
from tests.compiler.test_images import image_model, images
from tests.compiler.test_routers import GROUPS, routed
from tests.support import ROOT, rng

TINY = load_config("tiny")
PROGRAMS = sorted((ROOT / "programs").glob("*.s"))


def program_of(name: str, context: int, tile: int = 0) -> ProgramImage:
    graph = canonicalise(load_model(model_path(name)), context, name)
    return compile_graph(graph, TINY, tile=tile)


@pytest.mark.parametrize(
    ("name", "context", "steps"),
    [
        ("stories260k/optimum_op18", 512, 12),
        ("glass_en/optimum_op18", 128, 2),
        ("exporters/gpt2/optimum_op18", 64, 2),
        ("exporters/bert/optimum_op18", 64, 1),  # an encoder's steps are texts of their own
    ],
)
def test_prefill_and_decode_are_identical(name, context, steps):
    image = program_of(name, context)
    runs = list(verify(image, (make_backend("functional"), make_backend("rtl")), steps))
    assert [run.difference for run in runs] == [None] * (steps + 1)
    print(f"{name}: cycles {[run.second.cycles for run in runs]}")


LAYERS = {
    "softcap, window and bias": lambda: kind_of_attention("softcap, bias and window"),
    "attention sinks": lambda: kind_of_attention("sinks"),
    "partial rotation": lambda: rotated("partial"),
    "encoder, a window to both sides": lambda: encoder_of("to both sides"),
    "encoder, a table by position": lambda: encoder_of("every third"),
    "quantised activations": lambda: static(decoder(), "uint8"),
    "mixture of experts": lambda: mixture(FORMS["gathered, softmax of the best"]),
    "experts in groups": lambda: routed(GROUPS),
}


@pytest.mark.parametrize("layer", LAYERS)
def test_layers_of_other_kinds_are_identical(layer):
    image = compile_graph(canonicalise(LAYERS[layer](), 64, layer), TINY)
    runs = list(verify(image, (make_backend("functional"), make_backend("rtl")), 2))
    assert [run.difference for run in runs] == [None] * 3


def test_a_vision_transformer_is_identical():
    image = compile_graph(canonicalise(image_model("registers"), None, "vision"), TINY)
    sessions = [Session(image, make_backend(name)) for name in ("functional", "rtl")]
    first, second = (session.run({"pixel_values": images(1)}) for session in sessions)
    np.testing.assert_array_equal(first["out"], second["out"])
    np.testing.assert_array_equal(sessions[0].hbm, sessions[1].hbm)


def test_decode_at_the_last_position_is_identical():
    """The whole context in use: every tile of the scores, every row of the cache."""
    image = program_of("stories260k/optimum_op18", 64)
    random = rng(7)
    sessions = [Session(image, make_backend(name)) for name in ("functional", "rtl")]
    inputs = {
        "input_ids": np.array([[5]]),
        "attention_mask": np.ones((1, 64), np.int64),
        "position_ids": np.array([[63]]),
    }
    for layer in range(5):
        for part in ("key", "value"):
            past = random.standard_normal((1, 4, 63, 8)).astype(np.float32) * 3
            inputs[f"past_key_values.{layer}.{part}"] = past
    first, second = (session.run(inputs) for session in sessions)
    for name, array in first.items():
        np.testing.assert_array_equal(second[name], array, err_msg=name)
    np.testing.assert_array_equal(sessions[0].hbm, sessions[1].hbm)


@pytest.mark.parametrize(("latency", "bandwidth"), [(1, 32), (3, 32), (250, 32), (40, 4), (97, 7)])
def test_the_memory_changes_time_and_nothing_else(latency, bandwidth):
    """Other latencies and bandwidths shift every engine against the others: hazards would show."""
    image = program_of("exporters/llama/optimum_op18", 32)
    speed = {"memory_latency_cycles": latency, "memory_bytes_per_cycle": bandwidth}
    image.config = TINY.replace(hbm="", **speed)
    runs = list(verify(image, (make_backend("functional"), make_backend("rtl")), 2))
    assert [run.difference for run in runs] == [None] * 3
    decode = runs[-1]
    moved = decode.first.counters["load_lines"] * TINY.line_bytes
    assert decode.second.cycles >= moved / bandwidth
    print(f"latency {latency}, {bandwidth} bytes a cycle: {decode.second.cycles} cycles")


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_hand_written_programs_are_identical(path: Path):
    image = assemble_file(path, None)
    assert check_image(image) > 0
    (run,) = verify(image, (make_backend("functional"), make_backend("rtl")), 0)
    assert run.difference is None


def test_hand_written_programs_use_every_instruction():
    used = {op.mnemonic for path in PROGRAMS for op in assemble_file(path, None).ops()}
    assert used == {instruction.mnemonic for instruction in INSTRUCTIONS}
