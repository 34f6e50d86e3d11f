"""Movement, whole numbers, refusals and interfaces of graphs of fixed shapes."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from typer.testing import CliRunner

from compiler.onnx_backend import JalapenoBackend, Refused, prepare
from tests.compiler.static import SPECIAL, model, numbers, run, surely
from tests.support import rng


def test_any_movement():
    """Units of 1, 3 and 16 numbers, padding, several sources, more than one portion."""
    random = rng(9)
    x, w = (random.standard_normal(s).astype(np.float32) for s in ((6, 37, 48), (6, 11, 48)))
    text = """g (float[6,37,48] x, float[6,11,48] w) => (float[50,48,6] y) {
        joined = Concat<axis = 1>(x, w)
        pads = Constant<value_ints = [0, 1, 0, 0, 1, 0]>()
        padded = Pad(joined, pads)
        y = Transpose<perm = [1, 2, 0]>(padded) }"""
    wanted = np.pad(np.concatenate([x, w], 1), ((0, 0), (1, 1), (0, 0))).transpose(1, 2, 0)
    np.testing.assert_array_equal(run(text, x, w), wanted)


@pytest.mark.parametrize("width", [3, 16, 20])
@pytest.mark.parametrize("perm", [(1, 0, 2), (0, 2, 1), (2, 1, 0)])
def test_transpositions(perm, width):
    """What stays together: one number, three, an atom, more than an atom."""
    x = rng(10).standard_normal((19, 33, width)).astype(np.float32)
    shape = ",".join(str(x.shape[i]) for i in perm)
    node = f"y = Transpose<perm = {list(perm)}>(x)"
    text = f"g (float[19,33,{width}] x) => (float[{shape}] y) {{ {node} }}"
    np.testing.assert_array_equal(run(text, x), x.transpose(perm))


def test_indices_that_the_program_computes():
    random = rng(11)
    x = random.standard_normal((4, 50, 3)).astype(np.float32)
    indices = random.integers(-50, 50, (6, 2))
    text = """g (float[4,50,3] x, int64[6,2] i) => (float[4,6,2,3] y) {
        one = Constant<value = int64 {1}>() up = Add(i, one) down = Sub(up, one)
        y = Gather<axis = 1>(x, down) }"""
    program = prepare(model(text))
    np.testing.assert_array_equal(surely(program, x, indices), np.take(x, indices, 1))
    assert not program.fixed
    indices[3, 1] = 50
    with pytest.raises(Refused, match="an index is outside of -50 … 49"):
        program.run([x, indices])


def test_integers_beyond_fp32_are_refused_when_they_appear():
    text = "g (int32[3] a, int32[3] b) => (int32[3] y) { y = Mul(a, b) }"
    program = prepare(model(text))
    a, b = np.array([3, -5, 4095], np.int32), np.array([7, 9, 4096], np.int32)
    np.testing.assert_array_equal(surely(program, a, b), a * b)
    a[2] = 4096
    with pytest.raises(Refused, match=r"\(Mul\): a number of type int32 is not below 2\^24"):
        program.run([a, b])
    a[0] = (1 << 24) + 1  # fp32 rounds it to 2^24
    with pytest.raises(Refused, match="input 'a' holds integers of 2"):
        program.run([a, b])


def test_narrow_integers_wrap():
    a = np.arange(-128, 128).astype(np.int8)
    text = "g (int8[256] a, int8[256] b) => (int8[256] y) { y = Mul(a, b) }"
    b = a[::-1].copy()
    np.testing.assert_array_equal(run(text, a, b), a * b)


@pytest.mark.parametrize("fmod", [0, 1])
def test_modulo_of_integers(fmod):
    random = rng(12)
    a, b = random.integers(-5000, 5000, 400), random.integers(1, 60, 400)
    b *= random.choice([-1, 1], 400)
    text = f"g (int64[400] a, int64[400] b) => (int64[400] y) {{ y = Mod<fmod = {fmod}>(a, b) }}"
    np.testing.assert_array_equal(run(text, a, b), np.fmod(a, b) if fmod else a % b)


def test_values_that_decide_about_shapes_are_fixed_for_each_run():
    text = "g (float[6] x, int64[2] shape) => (float[N,M] y) { y = Reshape(x, shape) }"
    program = prepare(model(text))
    x = np.arange(6, dtype=np.float32)
    for shape in ([2, 3], [3, 2], [6, -1]):
        found = surely(program, x, np.array(shape))
        np.testing.assert_array_equal(found, x.reshape(shape))
    assert program.fixed == {"shape"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "g (float[3] x) => (float[3] y) { y = Tan(x) }",
            r'"y" \(Tan\): Tan is not supported',
        ),
        ("g (double[3] x) => (double[3] y) { y = Floor(x) }", "rounding float64"),
        ("g (float[3] x) => (float[3] y) { y = RandomUniformLike(x) }", "random numbers"),
        (
            "g (float[2,3] x) => (float[2,2] y) { y = MatMul(x, x) }",
            "Incompatible dimensions",
        ),
    ],
)
def test_refusals_name_node_and_reason(text, reason):
    program = prepare(model(text))
    x = np.ones((2, 3) if "2,3" in text else 3, np.float64 if "double" in text else np.float32)
    with pytest.raises(Refused, match=reason):
        program.run([x])


def test_inputs_must_be_those_of_the_model():
    program = prepare(model("g (float[3] x) => (float[3] y) { y = Abs(x) }"))
    with pytest.raises(Refused, match="input 'x' must be of type float32, not float64"):
        program.run([np.ones(3)])


def test_a_node_alone():
    node = onnx.helper.make_node("Gelu", ["x"], ["y"], approximate="tanh")
    x = np.linspace(-3, 3, 7).astype(np.float32)
    (found,) = JalapenoBackend.run_node(node, [x])
    inner = np.sqrt(2 / np.pi) * (x + 0.044715 * x.astype(np.float64) ** 3)
    np.testing.assert_allclose(found, x / 2 * (1 + np.tanh(inner)), rtol=1e-5, atol=1e-6)
    assert JalapenoBackend.supports_device("CPU")
    assert not JalapenoBackend.supports_device("CUDA")


@pytest.mark.parametrize(
    "kind", [TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.FLOAT8E4M3FN]
)
def test_casts_round_to_nearest_even_on_the_chip(kind):
    """Back to float at once, so that no host rounds."""
    import ml_dtypes

    dtypes = {
        TensorProto.FLOAT16: np.float16,
        TensorProto.BFLOAT16: ml_dtypes.bfloat16,
        TensorProto.FLOAT8E4M3FN: ml_dtypes.float8_e4m3fn,
    }
    random = rng(13)
    x = np.concatenate([numbers(random, (500,)), random.standard_normal(500), SPECIAL[2:5]])
    ties = np.arange(1, 3000, 7, dtype=np.float32) * np.float32(2.0**-25)
    x = np.concatenate([x, ties, -ties, [65504, 65519.9, 65520, -65520]]).astype(np.float32)
    if kind == TensorProto.FLOAT8E4M3FN:
        x = np.clip(x, -448, 448)
    text = f"g (float[{x.size}] x) => (float[{x.size}] y) {{ h = Cast<to = {kind}>(x) "
    found = run(text + "y = Cast<to = 1>(h) }", x)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found, x.astype(dtypes[kind]).astype(np.float32))


def test_the_command_lines_take_any_graph(tmp_path):
    """jcc --static, then jalapeno run."""
    import compiler.cli
    import sim.cli

    text = "g (float[N,5] x, float[5] w) => (float[N] y) { y = MatMul(x, w) }"
    onnx.save(model(text), tmp_path / "model.onnx")
    runner = CliRunner()
    arguments = [str(tmp_path / "model.onnx"), "-o", str(tmp_path / "out.jx"), "--static"]
    refused = runner.invoke(compiler.cli.app, arguments)
    assert 'input "x": its axis N has no size; use --bind AXIS=N' in str(refused.exception)
    made = runner.invoke(compiler.cli.app, [*arguments, "--bind", "N=3"])
    assert made.exit_code == 0, made.output
    x, w = (rng(14).standard_normal(shape).astype(np.float32) for shape in ((3, 5), 5))
    np.savez(tmp_path / "in.npz", x=x, w=w)
    files = ["--inputs", str(tmp_path / "in.npz"), "--outputs", str(tmp_path / "out.npz")]
    done = runner.invoke(sim.cli.app, ["run", str(tmp_path / "out.jx"), *files])
    assert done.exit_code == 0, done.output
    with np.load(tmp_path / "out.npz") as found:
        np.testing.assert_allclose(found["y"], x @ w, rtol=1e-5, atol=1e-6)
    missing = runner.invoke(sim.cli.app, ["run", str(tmp_path / "out.jx")])
    assert "input 'w' is missing; it has x, w" in str(missing.exception)
