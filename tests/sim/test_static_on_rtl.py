"""Programs of graphs of fixed shapes: RTL ≡ functional simulator, in every bit."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import parser

from compiler.onnx_backend import prepare
from sim import arrays
from sim.backends import make_backend
from sim.verify import verify
from tests.support import rng

X = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-39, 3.4e38, 2.5, -7.0], np.float32)
CASES = {
    "arithmetic": """(float[3,9] x, float[9] y) => (float[3,9] z) {
        q = Div(x, y) l = Log(q) big = Greater(x, y) z = Where(big, l, q) }""",
    "movement": """(float[7,5,4] x, float[7,5,4] y) => (float[4,5,14] z) {
        j = Concat<axis = 0>(x, y) z = Transpose<perm = [2, 1, 0]>(j) }""",
    "product": """(float[3,19] x, float[2,19,21] y) => (float[2,3,21] z) {
        z = MatMul(x, y) }""",
    "reductions": """(float[5,33] x, float[33] y) => (float[5,33] z, int64[5] a) {
        s = Softmax(x) p = ReduceMax<keepdims = 1>(s) d = Div(s, p) z = Mul(d, y)
        a = ArgMax<axis = 1, keepdims = 0>(x) }""",
    "lookup": """(float[9,3] x, int64[2,5] y) => (float[2,5,3] z) { z = Gather(x, y) }""",
    "quantised": """(float[4,20] x, float[20,6] y) => (float[4,6] z) {
        a, s, p = DynamicQuantizeLinear(x) b, t, q = DynamicQuantizeLinear(y)
        i = MatMulInteger(a, b, p, q) f = Cast<to = 1>(i) st = Mul(s, t) z = Mul(f, st) }""",
    "attention": """(float[1,2,3,8] x, float[1,2,5,8] y) => (float[1,2,3,8] z) {
        z = Attention<is_causal = 1>(x, y, y) }""",
}


def inputs_of(model: onnx.ModelProto, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Of all sizes; indices below 9."""
    found = {}
    for value in model.graph.input:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        if value.type.tensor_type.elem_type == onnx.TensorProto.INT64:
            found[value.name] = random.integers(-9, 9, shape)
            continue
        found[value.name] = random.standard_normal(shape).astype(np.float32) * 3
    return found


@pytest.mark.parametrize("case", CASES)
def test_both_back_ends_agree(case):
    text = f'<ir_version: 10, opset_import: ["" : 23]> g {CASES[case]}'
    model = parser.parse_model(text)
    inputs = inputs_of(model, rng(21))
    if case == "arithmetic":
        inputs["x"][1] = X
    image = prepare(model).image(inputs)
    memory = image.memory()
    arrays.write(image.io, memory, inputs)
    loaded = replace(image, hbm=memory)
    (run,) = verify(loaded, (make_backend("functional"), make_backend("rtl")), 0)
    assert run.difference is None
    assert run.second.cycles > 0
    print(f"{case}: {len(image.ops())} instructions, {run.second.cycles} cycles")
