"""Convolutions over tokens: of one token they are products, the others are refused."""

import numpy as np
import onnx
import pytest

from compiler.canonical import canonicalise
from compiler.errors import CompileError
from tests.compiler.agreement import SIZES, difference, kinds
from tests.compiler.decoder import decoder
from tests.compiler.test_compiled import BOUND, ODD, TINY, WIDE, compare
from tests.support import rng

WIDTH = 24  # features of the decoder


def convolved(attributes: str, *sizes: int, bias: bool = True) -> onnx.ModelProto:
    """``sizes`` of the first kernel; a second one, of one group, leads back."""
    dice = rng(sum(sizes))

    def numbers(*shape: int) -> np.ndarray:
        return dice.standard_normal(shape).astype(np.float32) / np.float32(np.sqrt(shape[1]))

    extra = {"kernel": numbers(*sizes), "shift": numbers(sizes[0], 1)[:, 0]}
    extra["back"] = numbers(WIDTH, sizes[0], 1)
    inputs = "t, kernel, shift" if bias else "t, kernel"
    feature = f"""
        t = Transpose<perm = [0, 2, 1]>(embedded)  c = Conv<{attributes}>({inputs})
        a = Tanh(c)  b = Conv(a, back)  x = Transpose<perm = [0, 2, 1]>(b)"""
    return decoder(extra, feature=feature)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("attributes", "sizes"),
    [
        ("kernel_shape = [1]", (40, 24, 1)),
        ("group = 3, strides = [1]", (36, 8, 1)),
        ("group = 2, pads = [0, 0], dilations = [2]", (10, 12, 1)),
    ],
)
def test_of_one_token(attributes: str, sizes: tuple[int, ...], bias: bool):
    model = convolved(attributes, *sizes, bias=bias)
    products = WIDTH // sizes[1] + 1
    assert kinds(model).count("linear") == kinds(decoder()).count("linear") + products
    assert difference(model, 64, SIZES, seed=4) < 2e-5
    for config in (TINY, ODD, WIDE):
        assert compare(model, config, [(5, 0), (3, 7), (17, 9)]) < BOUND


@pytest.mark.parametrize(
    ("attributes", "sizes"),
    [
        ("pads = [1, 1]", (24, 24, 3)),
        ('auto_pad = "SAME_UPPER"', (24, 24, 3)),
        ("strides = [2]", (24, 24, 1)),
        ("pads = [1, 0]", (24, 24, 1)),
    ],
)
def test_of_several_tokens_or_others(attributes: str, sizes: tuple[int, ...]):
    with pytest.raises(CompileError, match=r"unsupported operators: Conv \("):
        canonicalise(convolved(attributes, *sizes), 64, "model")
