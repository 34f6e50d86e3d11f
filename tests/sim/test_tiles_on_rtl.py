"""Attention to keys in tiles: RTL ≡ functional simulator, in every bit."""

import numpy as np
import pytest

from sim.backends import make_backend
from sim.runtime import Session
from tests.compiler.decoder import decoder
from tests.compiler.test_compiled import TINY
from tests.compiler.test_encoders import encoder_of
from tests.compiler.test_int8_cache import graph_of, program
from tests.compiler.test_tiles import CONTEXT, DECODERS, inputs_of, tiled
from tests.sim.test_models_on_rtl import program_of

SIZES = [(13, 91), (1, 156), (37, 20)]


def compare(image, model, sizes: list[tuple[int, int]]) -> None:
    """Outputs, caches and all of HBM, run after run."""
    sessions = [Session(image, make_backend(name)) for name in ("functional", "rtl")]
    for new, past in sizes:
        first, second = (session.run(inputs_of(model, new, past)) for session in sessions)
        for name, array in first.items():
            np.testing.assert_array_equal(second[name], array, err_msg=name)
        np.testing.assert_array_equal(sessions[0].hbm, sessions[1].hbm)


@pytest.mark.parametrize("kind", ["causal", "first four keys", "softcap, bias and window"])
def test_decoders_are_identical(kind: str) -> None:
    model = DECODERS[kind]()
    compare(tiled(model), model, SIZES)


def test_encoders_are_identical() -> None:
    model = encoder_of("to both sides")
    compare(tiled(model), model, [(CONTEXT, 0)])


def test_a_cache_in_fp8_is_identical() -> None:
    compare(tiled(decoder(), kv="fp8"), decoder(), SIZES[:1])


def test_a_cache_in_int8_is_identical() -> None:
    image = program(graph_of(decoder(), CONTEXT), tile=32)
    compare(image, decoder(), SIZES[:1])


@pytest.mark.parametrize(("latency", "bandwidth"), [(1, 32), (250, 32), (97, 7)])
def test_the_memory_changes_time_and_nothing_else(latency: int, bandwidth: int) -> None:
    """Other latencies and bandwidths shift the loads against the engines that wait for them."""
    image, model = tiled(DECODERS["window"]()), DECODERS["window"]()
    speed = {"memory_latency_cycles": latency, "memory_bytes_per_cycle": bandwidth}
    image.config = TINY.replace(hbm="", **speed)
    compare(image, model, SIZES[:2])


def test_several_layers_are_identical() -> None:
    """A trained model, past the second tile."""
    image = program_of("stories260k/dynamo_op20", 160, tile=64)
    functional, rtl = (Session(image, make_backend(name)) for name in ("functional", "rtl"))
    ids = np.random.default_rng(4).integers(3, 512, 140)
    for part in (ids[:131], ids[131:]):
        np.testing.assert_array_equal(functional.step(part), rtl.step(part))
    np.testing.assert_array_equal(functional.hbm, rtl.hbm)
