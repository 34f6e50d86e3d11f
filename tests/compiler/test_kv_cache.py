"""A KV cache in fp8: against a model that rounds its keys and values, and on the RTL."""

import ml_dtypes
import numpy as np
import onnx
import pytest

from isa.config import ChipConfig
from sim.backends import make_backend
from sim.runtime import Session
from sim.verify import verify
from tests.compiler.decoder import decoder, feeds, past_of
from tests.compiler.test_compiled import BOUND, ODD, TINY, WIDE, reference
from tests.compiler.test_weights import compiled
from tests.support import rng


def rounded_cache(**parts: str) -> onnx.ModelProto:
    """The decoder that rounds its keys and values to E4M3 before it caches them."""
    model = decoder(
        cache="""
        k_8 = Cast<to = 17, saturate = 1>(k)  k_rounded = Cast<to = 1>(k_8)
        v_8 = Cast<to = 17, saturate = 1>(v)  v_rounded = Cast<to = 1>(v_8)
        present_0_key = Concat<axis = 2>(past_0_key, k_rounded)
        present_0_value = Concat<axis = 2>(past_0_value, v_rounded)""",
        **parts,
    )
    model.opset_import[0].version = 19  # the first with casts to E4M3
    return model


@pytest.mark.parametrize("config", [TINY, ODD, WIDE], ids=lambda config: config.name)
def test_a_cache_in_fp8(config: ChipConfig) -> None:
    """Few numbers lie so near to the middle of two of E4M3's that an earlier rounding to bf16
    decides between them; on average that is no more than another rounding to bf16, of keys and of
    values."""
    session = Session(compiled(decoder(), config, kv="fp8"), make_backend("functional"))
    expected = reference(rounded_cache())
    kind, same = ml_dtypes.float8_e4m3fn, []
    for new, past in [(1, 0), (5, 0), (3, 7), (17, 9), (1, 63)]:
        random = rng(100 * new + past)
        caches = past_of(decoder(), past, random)
        caches = {k: v.astype(kind).astype(np.float32) for k, v in caches.items()}
        inputs = feeds(decoder(), random.integers(0, 19, new), caches)
        names = [output.name for output in expected.get_outputs()]
        wanted = dict(zip(names, expected.run(None, inputs), strict=True))
        found = session.run(inputs)
        error = np.abs(found["logits"] - wanted["logits"]).mean() / wanted["logits"].std()
        assert error < BOUND * 9 / 7
        for name in names[1:]:
            np.testing.assert_array_equal(found[name], found[name].astype(kind).astype(np.float32))
            np.testing.assert_array_equal(found[name][:, :, :past], wanted[name][:, :, :past])
            same.append((found[name] == wanted[name])[:, :, past:].reshape(-1))
    assert np.concatenate(same).mean() > 0.9


def test_a_cache_in_fp8_is_identical_on_rtl() -> None:
    image = compiled(decoder(), TINY, "nvfp4", kv="fp8")
    runs = list(verify(image, (make_backend("functional"), make_backend("rtl")), 2))
    assert [run.difference for run in runs] == [None] * 3


def test_a_cache_in_fp8_is_half_as_large() -> None:
    """Where rows are no shorter than a beat of the memory."""
    images = [compiled(decoder(), WIDE, kv=kv) for kv in ("bf16", "fp8")]
    sizes = [sum(t.end - t.address for t in image.io.of_kind("kv")) for image in images]
    assert sizes[0] == 2 * sizes[1]
