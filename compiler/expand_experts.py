"""onnxruntime's MoE as standard operators: the form in which exporters write chosen experts."""

from collections.abc import Iterator

import onnx

from compiler.contrib import DOMAIN, attributes_of, integer
from compiler.errors import CompileError

Lines = Iterator[str]
_ACTIVATIONS = {
    "relu": "{out} = Relu({x})",
    "gelu": "{out} = com.microsoft.Gelu({x})",
    "silu": "{x}_s = Sigmoid({x})  {out} = Mul({x}, {x}_s)",
    "identity": "{out} = Identity({x})",
}
_INTERLEAVED = 1  # swiglu_fusion: what onnxruntime itself computes on a host


def mixture(node: onnx.NodeProto, ranks: dict[str, int]) -> Lines:
    """k experts by the router's scores, two or three products each, weighed and added up."""
    k = integer(node, "k", 1)
    if integer(node, "use_sparse_mixer", 0) or any(node.input[8:]):
        raise _refuse(node, "a sparse mixer, and inputs behind the eighth, are not supported")
    yield "minus = Constant<value = int64[1] {-1}>()  one = Constant<value = int64[1] {1}>()"
    yield f"k = Constant<value = int64[1] {{{k}}}>()"
    yield f"wide = Constant<value = int64[3] {{1, {k}, 1}}>()"
    yield "size = Shape(in0)  width = Shape<start = -1>(in0)  rows = Concat<axis = 0>(minus, width)"
    yield "x = Reshape(in0, rows)"
    if integer(node, "normalize_routing_weights", 0):
        yield "best, index = TopK<axis = -1>(in1, k)  gates = Softmax<axis = -1>(best)"
    else:
        yield "all = Softmax<axis = -1>(in1)  gates, index = TopK<axis = -1>(all, k)"
    yield "places = Reshape(index, minus)  x_3d = Unsqueeze(x, one)  x_wide = Expand(x_3d, wide)"
    yield "x_rows = Reshape(x_wide, rows)"
    yield from _product("x_rows", "h", 2, node)
    yield from _activated(node)
    yield from _product("active", "e", 4, node)
    yield "gate_rows = Reshape(gates, minus)  gate = Unsqueeze(gate_rows, minus)"
    yield "weighed = Mul(e, gate)  each = Concat<axis = 0>(minus, k, width)"
    yield "apart = Reshape(weighed, each)  sum = ReduceSum<keepdims = 0>(apart, one)"
    yield "out0 = Reshape(sum, size)"


def _product(x: str, out: str, index: int, node: onnx.NodeProto) -> Lines:
    """Weights [E, N, K] of input ``index``, and a bias [E, N] behind it perhaps."""
    plain = f"{out}_plain" if _has(node, index + 1) else out
    yield f"{out}_w = Gather<axis = 0>(in{index}, places)  {out}_x = Unsqueeze({x}, minus)"
    yield f"{out}_c = MatMul({out}_w, {out}_x)  {plain} = Squeeze({out}_c, minus)"
    if plain != out:
        yield f"{out}_b = Gather<axis = 0>(in{index + 1}, places)  {out} = Add({plain}, {out}_b)"


def _activated(node: onnx.NodeProto) -> Lines:
    """Of h: `active`."""
    attributes = attributes_of(node)
    kind = attributes.get("activation_type", b"relu").decode()
    if kind != "swiglu":
        if kind not in _ACTIVATIONS:
            known = ", ".join(_ACTIVATIONS)
            raise _refuse(node, f"activation_type {kind!r} must be one of {known}, swiglu")
        if not _has(node, 6):
            yield _ACTIVATIONS[kind].format(x="h", out="active")
            return
        yield _ACTIVATIONS[kind].format(x="h", out="acted")
        yield from _product("x_rows", "up", 6, node)
        yield "active = Mul(acted, up)"
        return
    if integer(node, "swiglu_fusion", 0) != _INTERLEAVED or _has(node, 6):
        raise _refuse(node, "the halves of its swiglu must be interleaved: swiglu_fusion 1")
    yield "zero = Constant<value = int64[1] {0}>()  two = Constant<value = int64[1] {2}>()"
    yield "most = Constant<value = int64[1] {4611686018427387904}>()"
    yield "gate_h = Slice(h, zero, most, one, two)  up_h = Slice(h, one, most, one, two)"
    limit = attributes.get("swiglu_limit")
    gate, up = "gate_h", "up_h"
    if limit is not None:
        yield f"top = Constant<value = float {{{limit}}}>()"
        yield f"low = Constant<value = float {{{-limit}}}>()"
        yield "gate_l = Min(gate_h, top)  up_l = Clip(up_h, low, top)"
        gate, up = "gate_l", "up_l"
    yield f"alpha = Constant<value = float {{{attributes.get('activation_alpha', 1.0)}}}>()"
    yield f"beta = Constant<value = float {{{attributes.get('activation_beta', 0.0)}}}>()"
    yield f"scaled = Mul({gate}, alpha)  sigmoid = Sigmoid(scaled)  swish = Mul({gate}, sigmoid)"
    yield f"raised = Add({up}, beta)  active = Mul(swish, raised)"


def _has(node: onnx.NodeProto, index: int) -> bool:
    return len(node.input) > index and bool(node.input[index])


def _refuse(node: onnx.NodeProto, problem: str) -> CompileError:
    return CompileError(f'node "{node.name or node.output[0]}" ({DOMAIN}.{node.op_type})', problem)
