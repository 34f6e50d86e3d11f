"""Features in any order, signs and company: partial and interleaved rotations, joined values."""

import numpy as np
import pytest
from onnx import helper

from compiler.canonical import canonicalise
from compiler.canonical_arrange import LARGEST
from compiler.errors import CompileError
from tests.compiler.agreement import SIZES, difference, kinds
from tests.compiler.decoder import PARTS, decoder, feeds, past_of
from tests.compiler.test_compiled import BOUND, ODD, TINY, WIDE, compare, compiled
from tests.support import rng

INTERLEAVED = """
    {x}_pairs = Reshape({x}_raw, pairs)
    {x}_even = Slice({x}_pairs, zero, one, four)  {x}_odd = Slice({x}_pairs, one, two, four)
    {x}_minus = Neg({x}_odd)  {x}_both = Concat<axis = 4>({x}_minus, {x}_even)
    {x}_turned = Reshape({x}_both, {x}_back)
    {x}_cos = Mul({x}_raw, cos)  {x}_sin = Mul({x}_turned, sin)  {x} = Add({x}_cos, {x}_sin)"""
PARTIAL = """
    {x}_part = Slice({x}_raw, zero, two, three)  {x}_pass = Slice({x}_raw, two, big, three)
    {x}_first = Slice({x}_part, zero, one, three)  {x}_second = Slice({x}_part, one, two, three)
    {x}_minus = Neg({x}_second)  {x}_turned = Concat<axis = 3>({x}_minus, {x}_first)
    {x}_cos = Mul({x}_part, cos_2)  {x}_sin = Mul({x}_turned, sin_2)
    {x}_new = Add({x}_cos, {x}_sin)
    {x} = Concat<axis = 3>({x}_new, {x}_pass)"""
TABLES = (
    PARTS["tables"]
    + """
    cos_2 = Slice(cos, zero, two, three)  sin_2 = Slice(sin, zero, two, three)"""
)
FEATURES = {
    "halves of all": "r = Slice(embedded, one, big, two) s = Slice(embedded, zero, one, two) "
    "x = Concat<axis = 2>(r, s)",
    "two values": "a = Tanh(embedded) r = Slice(a, five, big, two) s = Slice(embedded, zero, five, "
    "two) x = Concat<axis = 2>(r, s)",
    "signs": "h = Reshape(embedded, q_shape) a, b, c, d = Split<axis = 3, num_outputs = 4>(h) "
    "n = Neg(c) t = Concat<axis = 3>(n, a, d, b) x = Reshape(t, flat_shape)",
    "whole vectors": "h = Reshape(embedded, eights) a = Slice(h, two, three, two) b = Slice(h, "
    "zero, two, two) n = Neg(a) t = Concat<axis = 2>(n, b) x = Reshape(t, flat_shape)",
    "mirrored": "x = Gather<axis = 2>(embedded, mirror)",
}
EXTRA = {
    "pairs": np.array([0, 0, 0, -1, 2], np.int64),
    "q_back": np.array([1, 6, -1, 4], np.int64),
    "k_back": np.array([1, 2, -1, 4], np.int64),
    "five": np.array([5], np.int64),
    "eights": np.array([1, -1, 3, 8], np.int64),
    "mirror": np.arange(23, -1, -1),
}
ROTATIONS = {"interleaved": INTERLEAVED, "partial": PARTIAL}


def rotated(how: str):
    parts = {"rotation": "".join(ROTATIONS[how].replace("{x}", x) for x in "qk"), "tables": TABLES}
    return decoder(EXTRA, **parts)


@pytest.mark.parametrize("how", ROTATIONS)
@pytest.mark.parametrize("config", [TINY, ODD, WIDE], ids=lambda config: config.name)
def test_rotations(how, config):
    model = rotated(how)
    assert "arrange" in kinds(model)
    assert difference(model, 64, SIZES, seed=4) < 2e-5
    assert compare(model, config, [(5, 0), (3, 7), (17, 9), (1, 63)]) < BOUND


@pytest.mark.parametrize("feature", FEATURES)
def test_features(feature):
    model = decoder(EXTRA, feature=FEATURES[feature])
    assert difference(model, 64, SIZES, seed=4) < 2e-5
    assert compare(model, TINY, [(4, 3), (17, 0)]) < BOUND


@pytest.mark.parametrize("config", [TINY, ODD, WIDE], ids=lambda config: config.name)
@pytest.mark.parametrize("feature", [name for name in FEATURES if name != "two values"])
def test_numbers_come_out_as_they_were(feature, config):
    """Bit for bit, through the array too: fp32 is the sum of three bf16 numbers."""
    moved = FEATURES[feature].replace("embedded", "e")
    model = decoder(EXTRA, feature=f"e = Sigmoid(embedded) {moved}")
    for name in ("e", "x"):
        model.graph.output.append(helper.make_tensor_value_info(name, 1, [1, "S", 24]))
    outputs = compiled(model, config).run(feeds(model, np.arange(19), past_of(model, 0, rng(0))))
    assert np.unique(outputs["e"].view(np.uint32) & 0xFF).size > 100
    for before, after in zip(outputs["e"][0], outputs["x"][0], strict=True):
        np.testing.assert_array_equal(np.sort(np.abs(after)), np.sort(before))


def test_reject_too_many_features():
    size = LARGEST + 8
    mirror = np.arange(size - 1, -1, -1)
    wide = rng(1).standard_normal((24, size)).astype(np.float32)
    back = rng(2).standard_normal((size, 24)).astype(np.float32)
    feature = (
        "w = MatMul(embedded, broad) s = Softmax(w) m = Gather<axis = 2>(s, mirror) "
        "n = Mul(m, half) x = MatMul(n, back)"
    )
    model = decoder({"mirror": mirror, "broad": wide, "back": back}, feature=feature)
    with pytest.raises(CompileError, match=f"rearranges {size} features of a token, more than"):
        canonicalise(model, 64, "model")
