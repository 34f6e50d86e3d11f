"""QuantizeLinear by additions and products of the chip, against onnxruntime's, number by number."""

import numpy as np
import onnxruntime
import pytest
from onnx import helper

from compiler.numerics import ROUNDING
from compiler.quantiser import Quantiser
from isa import numbers
from tests.support import rng

KINDS = {"int8": (-128, 127), "uint8": (0, 255)}


def of_chip(quantiser: Quantiser, x: np.ndarray) -> np.ndarray:
    """Every operator as the vector unit computes it."""

    def do(kind: str, a: np.ndarray, b: object) -> np.ndarray:
        if kind == "round":
            shift = np.float32(ROUNDING) * np.float32(b)
            return numbers.sub(numbers.add(a, shift), shift)
        units = {"max": numbers.maximum, "min": numbers.minimum}
        units |= {"mul": numbers.mul, "add": numbers.add, "sub": numbers.sub}
        other = np.broadcast_to(np.asarray(b, np.float32), a.shape)
        return units[kind](a, np.ascontiguousarray(other))

    return quantiser.emit(x, do)


def of_onnxruntime(x: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
    kind = helper.np_dtype_to_tensor_dtype(zero.dtype)
    types = [("x", 1, x.shape), ("scale", 1, scale.shape), ("zero", kind, zero.shape)]
    inputs = [helper.make_tensor_value_info(*each) for each in types]
    node = helper.make_node("QuantizeLinear", [name for name, _, _ in types], ["y"])
    output = helper.make_tensor_value_info("y", kind, x.shape)
    opsets = [helper.make_opsetid("", 19)]
    model = helper.make_model(
        helper.make_graph([node], "q", inputs, [output]), opset_imports=opsets, ir_version=9
    )
    session = onnxruntime.InferenceSession(model.SerializeToString())
    given = {"x": x, "scale": np.asarray(scale), "zero": np.asarray(zero)}
    return session.run(None, given)[0]


def near(scale: np.ndarray) -> np.ndarray:
    """The 200 numbers around every middle between codes."""
    middles = ((np.arange(-256, 256) + 0.5) * np.float64(scale)).astype(np.float32)
    return (middles.view(np.int32) + np.arange(-100, 100, dtype=np.int32)[:, None]).view(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("magnitude", [-60, -20, -4, 0, 3, 40])
def test_every_number_near_a_step_becomes_the_same_code(kind: str, magnitude: int) -> None:
    random, (low, high) = rng(magnitude + 100), KINDS[kind]
    for drawn in [1.0, 1.0 + 2.0**-23, 2.0 - 2.0**-23, *random.uniform(1, 2, 8)]:
        scale = np.array(drawn, np.float32) * np.float32(2.0**magnitude)
        zero = np.array(random.integers(low, high + 1), kind)
        far = random.standard_normal(500).astype(np.float32) * scale * 100
        ends = np.array([0, -0.0, np.inf, -np.inf, 1e38, -1e38], np.float32)
        x = np.concatenate([near(scale).ravel(), far, ends])[None]
        limits = (np.full((1, 1), limit - int(zero), np.float32) for limit in (low, high))
        found = of_chip(Quantiser(scale.reshape(1, 1), *limits), x) + int(zero)
        wanted = of_onnxruntime(x, scale, zero)
        np.testing.assert_array_equal(found, wanted.astype(np.float32), err_msg=f"scale {scale}")


def test_scales_of_features() -> None:
    random = rng(4)
    scales = random.uniform(0.001, 9, 7).astype(np.float32)
    x = np.stack([near(scale).ravel() for scale in scales], axis=-1)
    limits = (np.full((1, 7), limit, np.float32) for limit in (-128, 127))
    found = of_chip(Quantiser(scales[None], *limits), x)
    for column, scale in enumerate(scales):
        wanted = of_onnxruntime(x[:, column], scale, np.array(0, np.int8))
        np.testing.assert_array_equal(found[:, column], wanted)


def test_a_power_of_two_needs_fewer_operators() -> None:
    seen = []

    def do(kind: str, a: object, b: object) -> object:
        seen.append(kind)
        return a

    limits = np.full((1, 1), -128, np.float32), np.full((1, 1), 127, np.float32)
    Quantiser(np.full((1, 1), 0.125, np.float32), *limits).emit(None, do)
    assert seen == ["max", "min", "mul", "round"]


@pytest.mark.parametrize(
    ("scale", "low", "high", "message"),
    [
        (0.0, -128, 127, "its scale must be between"),
        (np.nan, -128, 127, "its scale must be between"),
        (1.0, -32768, 32767, "its codes must differ from the zero point by at most 255"),
    ],
)
def test_what_is_refused(scale: float, low: int, high: int, message: str) -> None:
    arrays = (np.full((1, 1), x, np.float32) for x in (scale, low, high))
    with pytest.raises(ValueError, match=message):
        Quantiser(*arrays)
