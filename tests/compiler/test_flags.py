"""Comparisons of features, and what is chosen by them."""

import numpy as np
import pytest

from compiler.canonical import canonicalise
from compiler.errors import CompileError
from tests.compiler.agreement import SIZES, difference
from tests.compiler.decoder import MODEL, decoder
from tests.compiler.test_compiled import BOUND, TINY, WIDE, compare
from tests.support import rng

# Of all tokens' features, one in two is equal to the limit of its place.
TABLE = rng(17).integers(-2, 3, (19, MODEL)).astype(np.float32) / 4
LIMITS = np.where(np.arange(MODEL) % 2, TABLE[3], np.float32(0.1))
EXTRA = {
    "table": TABLE,
    "limits": LIMITS,
    "tiny": np.array(2.0**-124, np.float32),  # the smallest normal number, a quarter of it
    "low": np.array(-np.inf, np.float32),
    "low_f": np.array(-3, np.float32),
    "gain_2": rng(3).standard_normal(MODEL).astype(np.float32),
    "last": np.array([-1]),
}
FLAGS = [
    "f = Greater(embedded, limits) x = Where(f, half, embedded)",
    "f = GreaterOrEqual(embedded, limits) x = Where(f, embedded, half)",
    "f = Less(limits, embedded) x = Where(f, embedded, gain)",
    "f = LessOrEqual(embedded, limits) g = Exp(embedded) x = Where(f, g, embedded)",
    "f = Greater(embedded, limits) g = Cast<to = 1>(f) x = Mul(g, gain)",
    "f = Less(embedded, limits) g = Not(f) h = Cast<to = 9>(g) x = Where(h, gain, gain_2)",
    "f = Less(embedded, half) g = Greater(embedded, limits) h = And(f, g) "
    "x = Where(h, nought, gain)",
    "f = Less(embedded, limits) g = Greater(embedded, half) h = Or(f, g) "
    "x = Where(h, embedded, gain)",
    "m = ReduceMax(embedded, last) f = Less(embedded, m) w = Where(f, low, embedded) "
    "s = Softmax<axis = -1>(w) x = Add(s, embedded)",
    "t = Mul(embedded, tiny) f = Greater(t, nought) x = Where(f, half, embedded)",
    "m = ReduceMax(embedded, last) f = GreaterOrEqual(m, half) x = Where(f, embedded, low_f)",
]


@pytest.mark.parametrize("feature", FLAGS)
def test_comparisons_agree_with_onnxruntime(feature):
    assert difference(decoder(EXTRA, feature=feature), 64, SIZES, seed=1) < 2e-5


@pytest.mark.parametrize("config", [TINY, WIDE], ids=lambda config: config.name)
@pytest.mark.parametrize("feature", FLAGS)
def test_compiled(feature, config):
    assert compare(decoder(EXTRA, feature=feature), config, [(9, 0), (4, 3)]) < BOUND


REFUSED = {
    "m = ReduceMax(embedded, last) f = Less(m, half) x = Where(f, embedded, gain)": (
        'node "x" (Where): its condition must be of the result\'s features, or choose a number'
    ),
    "f = Cast<to = 9>(embedded) x = Where(f, half, embedded)": (
        'node "f" (Cast): a cast of token values must be to a floating-point type'
    ),
    "f = Greater(embedded, half) g = Not(f) h = Xor(f, g) x = Where(h, half, gain)": (
        "unsupported operators: Xor (h)"
    ),
    "m = ReduceMax(embedded, last) f = Greater(embedded, half) x = Where(f, half, m)": (
        'node "x" (Where): its numbers must be in place of features of the result\'s shape'
    ),
}


@pytest.mark.parametrize("feature", REFUSED)
def test_refused(feature):
    with pytest.raises(CompileError) as error:
        canonicalise(decoder(EXTRA, feature=feature), 64, "model")
    assert REFUSED[feature] in str(error.value)
