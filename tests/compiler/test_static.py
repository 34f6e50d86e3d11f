"""Graphs of fixed shapes, compiled and run: against NumPy in float64, and what is refused."""

import numpy as np
import onnx
import pytest

from compiler.onnx_backend import prepare
from tests.compiler.static import SPECIAL, model, numbers, run, surely
from tests.support import rng

BINARY = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Max": np.maximum,
    "Min": np.minimum,
}


@pytest.mark.parametrize("operator", BINARY)
@pytest.mark.parametrize(
    ("left", "right"), [((3, 1, 5), (7, 1)), ((2, 33), (33,)), ((1,), (4, 9)), ((2, 5000), (2, 1))]
)
def test_arithmetic_broadcasts_and_rounds_once(operator, left, right):
    random = rng(3)
    a, b = numbers(random, left), numbers(random, right)
    shapes = [",".join(map(str, x.shape)) for x in (a, b, np.empty(np.broadcast(a, b).shape))]
    text = "g (float[{}] a, float[{}] b) => (float[{}] y) {{ y = {}(a, b) }}"
    found = run(text.format(*shapes, operator), a, b)
    np.testing.assert_array_equal(found, BINARY[operator](a, b))


def test_division_of_all_exponents_is_rounded_to_nearest():
    random = rng(4)
    a = random.standard_normal(20000).astype(np.float32) * np.float32(2.0) ** 10
    b = random.standard_normal(20000).astype(np.float32)
    a[:3000] = np.round(a[:3000]) * np.round(b[:3000] * 50)  # exact quotients
    b[:3000] = np.round(b[:3000] * 50)
    b[b == 0] = 1
    text = "g (float[20000] a, float[20000] b) => (float[20000] y) { y = Div(a, b) }"
    np.testing.assert_array_equal(run(text, a, b), a / b)


COMPARISONS = {
    "Equal": np.equal,
    "Less": np.less,
    "Greater": np.greater,
    "LessOrEqual": np.less_equal,
    "GreaterOrEqual": np.greater_equal,
}


@pytest.mark.parametrize("operator", COMPARISONS)
def test_comparisons_of_special_numbers(operator):
    """Neighbours, infinities, NaN."""
    near = np.float32(1.5) * np.float32(2.0) ** np.arange(-120, 120, 7, dtype=np.float32)
    values = np.array([*SPECIAL, *near, *np.nextafter(near, np.float32(3e38))], np.float32)
    a, b = (x.astype(np.float32).reshape(-1) for x in np.meshgrid(values, values))
    text = f"g (float[{a.size}] a, float[{a.size}] b) => (bool[{a.size}] y) "
    found = run(text + f"{{ y = {operator}(a, b) }}", a, b)
    np.testing.assert_array_equal(found, COMPARISONS[operator](a, b))


@pytest.mark.parametrize("number", SPECIAL)
def test_comparisons_with_a_number(number):
    """Which is an immediate."""
    values = np.array([*SPECIAL, number, number], np.float32)
    constant = onnx.numpy_helper.from_array(np.float32(number), "b")
    for operator, function in COMPARISONS.items():
        text = f"g (float[13] a) => (bool[13] y, bool[13] z) {{ y = {operator}(a, b) "
        graph = model(text + f"z = {operator}(b, a) }}")
        graph.graph.initializer.append(constant)
        surely(program := prepare(graph), values)
        found = program.run([values])
        np.testing.assert_array_equal(found[0], function(values, np.float32(number)))
        np.testing.assert_array_equal(found[1], function(np.float32(number), values))


UNARY = {
    "Floor": np.floor,
    "Ceil": np.ceil,
    "Round": np.rint,
    "Sign": np.sign,
    "Abs": np.abs,
    "Neg": np.negative,
    "Sqrt": np.sqrt,
}


@pytest.mark.parametrize("operator", UNARY)
def test_exact_functions_of_special_numbers(operator):
    random = rng(5)
    ties = np.arange(-20, 20) / 2
    large = [2.0**22 + 0.5, 2.0**23 - 0.5, 2.0**23 + 1, -(2.0**22) - 0.5, 1e20, 8388609.0]
    values = np.array([*SPECIAL, *ties, *large, *numbers(random, (50,))], np.float32)
    with np.errstate(all="ignore"):
        wanted = UNARY[operator](values)
    text = f"g (float[{values.size}] x) => (float[{values.size}] y) {{ y = {operator}(x) }}"
    np.testing.assert_array_equal(run(text, values), wanted)


FUNCTIONS = {
    "Exp": (np.exp, 30.0),
    "Log": (np.log, 1e6),
    "Tanh": (np.tanh, 4.0),
    "Sigmoid": (lambda x: 1 / (1 + np.exp(-x)), 10.0),
    "Softplus": (lambda x: np.log1p(np.exp(-np.abs(x))) + np.maximum(x, 0), 10.0),
    "Erf": (None, 3.0),
    "Sin": (np.sin, 8000.0),
    "Cos": (np.cos, 8000.0),
}


@pytest.mark.parametrize("operator", FUNCTIONS)
def test_special_functions_are_near(operator):
    """Within 10^-5, from tiny arguments on."""
    import math

    function, width = FUNCTIONS[operator]
    function = function or np.vectorize(math.erf)
    random = rng(6)
    x = random.uniform(-width, width, 3000) * 10.0 ** random.integers(-8, 1, 3000)
    x = np.abs(x) if operator == "Log" else x
    x = x.astype(np.float32)
    text = f"g (float[3000] x) => (float[3000] y) {{ y = {operator}(x) }}"
    wanted = function(x.astype(np.float64))
    np.testing.assert_allclose(run(text, x), wanted, rtol=1e-5, atol=1e-6 if width > 100 else 1e-7)


def test_chosen_numbers_keep_what_is_not_finite():
    random = rng(7)
    a, b = (random.choice(np.array(SPECIAL, np.float32), 300) for _ in range(2))
    c = random.random(300) < 0.5
    text = "g (bool[300] c, float[300] a, float[300] b) => (float[300] y) { y = Where(c, a, b) }"
    found = run(text, c, a, b)
    np.testing.assert_array_equal(found, np.where(c, a, b))


@pytest.mark.parametrize(
    ("a", "b"),
    [((5, 7), (7, 3)), ((3, 1, 19, 70), (2, 70, 9)), ((130, 300), (300, 37)), ((9,), (9, 4))],
)
def test_products_are_those_of_fp32(a, b):
    """fp32's own bound: K roundings of the sum of magnitudes, and what three parts leave out."""
    random = rng(8)
    x, w = (random.standard_normal(s).astype(np.float32) for s in (a, b))
    x.flat[3] = 1e4
    exact = x.astype(np.float64) @ w.astype(np.float64)
    bound = (a[-1] + 4) * 2.0**-24 * (np.abs(x).astype(np.float64) @ np.abs(w))
    shapes = [",".join(map(str, s)) for s in (a, b, exact.shape)]
    text = "g (float[{}] a, float[{}] b) => (float[{}] y) {{ y = MatMul(a, b) }}".format(*shapes)
    assert (np.abs(run(text, x, w) - exact) <= bound).all()
