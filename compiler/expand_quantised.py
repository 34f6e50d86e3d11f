"""Operators on codes, as onnxruntime's quantiser writes them (its format QOperator), as
DequantizeLinear, the operator on floats, and QuantizeLinear.

ONNX defines QLinearMatMul, onnxruntime's docs/ContribOperators.md the others of `com.microsoft`,
by what they mean to floats; their results are rounded once, at the end.
"""

from collections.abc import Callable, Iterator

import onnx

from compiler.contrib import DOMAIN, attributes_of, integer
from compiler.template import fill

Lines = Iterator[str]
Template = Callable[[onnx.NodeProto], Lines]


def expand_quantised(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the nodes of TEMPLATES as others, whose names are that of the node that they
    replace; the model itself if it has none."""
    if not any(_template(node) for node in model.graph.node):
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    for node in model.graph.node:
        template = _template(node)
        text = "\n".join(template(node)) if template else ""
        result.graph.node.extend(fill(node, text) if template else [node])
    return result


def _template(node: onnx.NodeProto) -> Template | None:
    domain = "" if node.domain == "ai.onnx" else node.domain
    return TEMPLATES.get((domain, node.op_type))


def _has(node: onnx.NodeProto, index: int) -> bool:
    return len(node.input) > index and bool(node.input[index])


def _name(node: onnx.NodeProto, index: int) -> str:
    """Of an input that may be absent, as an argument."""
    return f"in{index}" if _has(node, index) else ""


def _float(node: onnx.NodeProto, name: str, first: int, axis: int = -1) -> str:
    """Input ``first`` as floats; its scale is the next one, its zero point the one after that."""
    return _with_scale(node, name, first, first + 1, first + 2, axis)


def _with_scale(
    node: onnx.NodeProto, name: str, codes: int, scale: int, zero: int, axis: int = -1
) -> str:
    point = f", in{zero}" if _has(node, zero) else ""
    return f"{name} = DequantizeLinear<axis = {axis}>(in{codes}, in{scale}{point})"


def _codes(node: onnx.NodeProto, name: str, scale: int) -> str:
    """The output: a float value rounded with the scale of that input."""
    point = f", in{scale + 1}" if _has(node, scale + 1) else ""
    return f"out0 = QuantizeLinear({name}, in{scale}{point})"


def _matmul(node: onnx.NodeProto) -> Lines:
    """QLinearMatMul."""
    yield _float(node, "a", 0)
    yield _float(node, "b", 3)
    yield "y = MatMul(a, b)"
    yield _codes(node, "y", 6)


def _gemm(node: onnx.NodeProto) -> Lines:
    """QGemm: the bias is in steps of both scales; a result without a scale of its own is float."""
    alpha = attributes_of(node).get("alpha", 1.0)
    turned = [integer(node, name, 0) for name in ("transA", "transB")]
    yield _float(node, "a", 0)
    yield _float(node, "b", 3, axis=0 if turned[1] else 1)
    options = f"alpha = {float(alpha)}, transA = {turned[0]}, transB = {turned[1]}"
    yield f"product = Gemm<{options}>(a, b)"
    result = "product"
    if _has(node, 6):
        yield f"alpha = Constant<value = float {{{alpha}}}>()"
        yield "both = Mul(in1, in4)  step = Mul(both, alpha)"
        yield "bias_float = Cast<to = 1>(in6)  bias = Mul(bias_float, step)"
        yield "biased = Add(product, bias)"
        result = "biased"
    yield _codes(node, result, 7) if _has(node, 7) else f"out0 = Identity({result})"


def _binary(operator: str) -> Template:
    """QLinearAdd, QLinearMul."""

    def template(node: onnx.NodeProto) -> Lines:
        yield _float(node, "a", 0)
        yield _float(node, "b", 3)
        yield f"y = {operator}(a, b)"
        yield _codes(node, "y", 6)

    return template


def _unary(operator: str) -> Template:
    """QLinearSigmoid, QLinearSoftmax."""

    def template(node: onnx.NodeProto) -> Lines:
        axis = f"<axis = {integer(node, 'axis', -1)}>" if operator == "Softmax" else ""
        yield _float(node, "x", 0)
        yield f"y = {operator}{axis}(x)"
        yield _codes(node, "y", 3)

    return template


def _concat(node: onnx.NodeProto) -> Lines:
    """QLinearConcat: the scale of the result comes first."""
    parts = [f"x{first}" for first in range(2, len(node.input), 3)]
    for first in range(2, len(node.input), 3):
        yield _float(node, f"x{first}", first)
    yield f"y = Concat<axis = {integer(node, 'axis')}>({', '.join(parts)})"
    yield _codes(node, "y", 0)


def _integer_to_float(node: onnx.NodeProto) -> Lines:
    """MatMulIntegerToFloat."""
    yield f"whole = MatMulInteger(in0, in1, {_name(node, 4)}, {_name(node, 5)})"
    yield from _to_float(node, "in2", "in3", 6)


def _dynamic_matmul(node: onnx.NodeProto) -> Lines:
    """DynamicQuantizeMatMul."""
    yield "code, scale, point = DynamicQuantizeLinear(in0)"
    yield f"whole = MatMulInteger(code, in1, point, {_name(node, 3)})"
    yield from _to_float(node, "scale", "in2", 4)


def _to_float(node: onnx.NodeProto, first: str, second: str, bias: int) -> Lines:
    """An integer product times two scales, and a bias."""
    yield f"sums = Cast<to = 1>(whole)  both = Mul({first}, {second})"
    yield f"{'y' if _has(node, bias) else 'out0'} = Mul(sums, both)"
    if _has(node, bias):
        yield f"out0 = Add(y, in{bias})"


def _attention(node: onnx.NodeProto) -> Lines:
    """QAttention: Attention of a quantised input and quantised weights; what is in it is float."""
    given = attributes_of(node)
    yield _with_scale(node, "x", 0, 3, 6)
    yield _with_scale(node, "weight", 1, 4, 7)
    options = [f"num_heads = {integer(node, 'num_heads')}"]
    options += [f"unidirectional = {integer(node, 'unidirectional', 0)}"]
    options += [f"do_rotary = {integer(node, 'do_rotary', 0)}"]
    if "scale" in given:
        options.append(f"scale = {float(given['scale'])}")
    arguments = f"x, weight, {_name(node, 2)}, {_name(node, 5)}, {_name(node, 8)}"
    yield f"out0 = {DOMAIN}.Attention<{', '.join(options)}>({arguments})"


def _embed(node: onnx.NodeProto) -> Lines:
    """QEmbedLayerNormalization: five quantised constants."""
    names = [f"t{index}" for index in range(2, 7)]
    for index, name in enumerate(names):
        if _has(node, index + 2):
            yield _with_scale(node, name, index + 2, index + 8, index + 13)
    epsilon = attributes_of(node).get("epsilon", 1e-12)
    tables = [name if _has(node, index + 2) else "" for index, name in enumerate(names)]
    arguments = ", ".join(("in0", _name(node, 1), *tables, _name(node, 7)))
    outputs = "out0, out1" if len(node.output) > 1 and node.output[1] else "out0"
    yield f"{outputs} = {DOMAIN}.EmbedLayerNormalization<epsilon = {epsilon}>({arguments})"


TEMPLATES: dict[tuple[str, str], Template] = {
    ("", "QLinearMatMul"): _matmul,
    (DOMAIN, "QGemm"): _gemm,
    (DOMAIN, "QLinearAdd"): _binary("Add"),
    (DOMAIN, "QLinearMul"): _binary("Mul"),
    (DOMAIN, "QLinearSigmoid"): _unary("Sigmoid"),
    (DOMAIN, "QLinearSoftmax"): _unary("Softmax"),
    (DOMAIN, "QLinearConcat"): _concat,
    (DOMAIN, "MatMulIntegerToFloat"): _integer_to_float,
    (DOMAIN, "DynamicQuantizeMatMul"): _dynamic_matmul,
    (DOMAIN, "QAttention"): _attention,
    (DOMAIN, "QEmbedLayerNormalization"): _embed,
}
