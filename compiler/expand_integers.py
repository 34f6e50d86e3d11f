"""DynamicQuantizeLinear and MatMulInteger in numbers that the array multiplies exactly.

A quantised activation becomes code - zero point, an integer of at most 255, as a float: bf16 holds
it, and a weight's as well. Products are exact, sums too below 2^24. The range is that of all tokens
of a launch, which one new operator finds; the rest is arithmetic. Rounding to nearest even is what
adding and taking away 1.5 · 2^23 does.
"""

import onnx

from compiler.contrib import OWN_DOMAIN
from compiler.errors import CompileError
from compiler.evaluate_node import source_of
from compiler.template import fill

QUANTISE = "DynamicQuantizeLinear"
MULTIPLY = "MatMulInteger"
_SHIFT = 12582912.0
_LEAST = 2.0**-100  # of a scale: x is 0 where it is not reached
_QUANTISED = f"""
  high = MaxOverTokens(in0)  minus = Neg(in0)  low = MaxOverTokens(minus)
  range = Add(high, low)
  part = Constant<value = float {{{1 / 255}}}>()  least = Constant<value = float {{{_LEAST}}}>()
  zero = Constant<value = float {{0}}>()  most = Constant<value = float {{255}}>()
  shift = Constant<value = float {{{_SHIFT}}}>()
  scale = Mul(range, part)  out1 = Max(scale, least)  inverse = Reciprocal(out1)
  point = Mul(low, inverse)  in_range = Min(point, most)
  raised = Add(in_range, shift)  zero_point = Sub(raised, shift)
  scaled = Mul(in0, inverse)  lifted = Add(scaled, shift)  steps = Sub(lifted, shift)
  code = Add(steps, zero_point)  code_0 = Max(code, zero)  code_255 = Min(code_0, most)
  out0 = Sub(code_255, zero_point)"""


def expand_integers(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with both operators replaced; the model itself if it has none."""
    graph = model.graph
    if not any(node.op_type in (QUANTISE, MULTIPLY) for node in graph.node):
        return model
    quantised = {n.output[0]: n for n in graph.node if n.op_type == QUANTISE and not n.domain}
    result = onnx.ModelProto()
    result.CopyFrom(model)
    del result.graph.node[:]
    for node in graph.node:
        if node.op_type == QUANTISE and not node.domain:
            result.graph.node.extend(_replaced(node, _QUANTISED))
        elif node.op_type == MULTIPLY and not node.domain:
            result.graph.node.extend(_replaced(node, _product(node, quantised)))
        else:
            _check(node, quantised)
            result.graph.node.append(node)
    result.opset_import.add(domain=OWN_DOMAIN, version=1)
    return result


def _product(node: onnx.NodeProto, quantised: dict[str, onnx.NodeProto]) -> str:
    names = [*node.input, "", ""][:4]
    made = quantised.get(names[0])
    if made is None or names[2] != made.output[2]:
        problem = f"its first input must come from {QUANTISE}, with its zero point"
        raise CompileError(str(source_of(node)), problem)
    if not names[3]:
        return "weight = Cast<to = 1>(in1)  out0 = MatMul(in0, weight)"
    return """
        code = Cast<to = 1>(in1)  zero_point = Cast<to = 1>(in3)  weight = Sub(code, zero_point)
        out0 = MatMul(in0, weight)"""


def _check(node: onnx.NodeProto, quantised: dict[str, onnx.NodeProto]) -> None:
    """Codes and zero points are for products alone: they are no integers any more."""
    points = {made.output[2] for made in quantised.values() if len(made.output) > 2}
    if wrong := [name for name in node.input if name in quantised or name in points]:
        problem = f'"{wrong[0]}" of {QUANTISE} may only be used by {MULTIPLY}'
        raise CompileError(str(source_of(node)), problem)


def _replaced(node: onnx.NodeProto, text: str) -> list[onnx.NodeProto]:
    nodes = fill(node, text)
    for each in nodes:
        each.domain = OWN_DOMAIN if each.op_type == "MaxOverTokens" else ""
    return nodes
