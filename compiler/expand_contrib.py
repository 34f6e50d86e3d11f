"""onnxruntime's fused operators as standard ones, by their definitions in its ContribOperators.md.

What its optimiser made of an exporter's graph becomes such a graph again: from there on, attention
is recognised by what it computes, whoever wrote it.
"""

from collections.abc import Callable, Iterator

import onnx

from compiler.contrib import DOMAIN, attributes_of, integer
from compiler.errors import CompileError
from compiler.expand_experts import mixture
from compiler.template import fill

Lines = Iterator[str]
_LOWEST = -3.4028234663852886e38


def expand_contrib(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the nodes of TEMPLATES as standard ones, whose names are that of the node that
    they replace; the model itself if it has none."""
    graph = model.graph
    if not any(_is_fused(node) for node in graph.node):
        return model
    result = onnx.ModelProto()
    result.CopyFrom(model)
    ranks = _ranks(graph)
    del result.graph.node[:]
    for node in graph.node:
        result.graph.node.extend(_expanded(node, ranks) if _is_fused(node) else [node])
    return result


def _is_fused(node: onnx.NodeProto) -> bool:
    return node.domain == DOMAIN and node.op_type in TEMPLATES


def _ranks(graph: onnx.GraphProto) -> dict[str, int]:
    """Of masks: 1 where tokens are counted, 2 where each has a number."""
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in graph.input}
    for node in graph.node:
        if node.op_type in ("Cast", "Identity") and node.input[0] in ranks:
            ranks[node.output[0]] = ranks[node.input[0]]
        elif node.op_type == "ReduceSum" and not attributes_of(node).get("keepdims", 1):
            ranks[node.output[0]] = 1
        elif node.op_type == "EmbedLayerNormalization" and len(node.output) > 1:
            ranks[node.output[1]] = 1
    return ranks


def _expanded(node: onnx.NodeProto, ranks: dict[str, int]) -> list[onnx.NodeProto]:
    """The nodes of its template."""
    text = "\n".join(TEMPLATES[node.op_type](node, ranks))
    return fill(node, text)


def _has(node: onnx.NodeProto, index: int) -> bool:
    return len(node.input) > index and bool(node.input[index])


def _makes(node: onnx.NodeProto, index: int) -> bool:
    return len(node.output) > index and bool(node.output[index])


def _refuse(node: onnx.NodeProto, problem: str) -> CompileError:
    return CompileError(f'node "{node.name or node.output[0]}" ({DOMAIN}.{node.op_type})', problem)


def _numbers() -> Lines:
    """Constants that templates share."""
    for name, value in (("c0", 0), ("c1", 1), ("c2", 2), ("c3", 3), ("last", -1)):
        yield f"{name} = Constant<value = int64 {{{value}}}>()"
    yield "ax1 = Constant<value = int64[1] {1}>()"
    yield "ax12 = Constant<value = int64[2] {1, 2}>()"
    yield "flat = Constant<value = int64[3] {0, 0, -1}>()"
    yield "nought = Constant<value = float {0}>()"
    yield f"lowest = Constant<value = float {{{_LOWEST}}}>()"


def _attention(node: onnx.NodeProto, ranks: dict[str, int]) -> Lines:
    """Attention: one product for queries, keys and values. Its past must be absent."""
    given, heads = attributes_of(node), integer(node, "num_heads")
    sizes = given.get("qkv_hidden_sizes", [])
    if len(set(sizes)) > 1 or given.get("do_rotary", 0) or any(_has(node, i) for i in (4, 6)):
        raise _refuse(node, "it must have no past and no rotation, and q, k, v of one size")
    yield from _numbers()
    yield "product = MatMul(in0, in1)"
    yield "qkv = Add(product, in2)" if _has(node, 2) else "qkv = Identity(product)"
    yield f"fives = Constant<value = int64[5] {{0, 0, 3, {heads}, -1}}>()"
    yield "parts = Reshape(qkv, fives)"
    for index, name in enumerate("qkv"):
        yield f"{name}_token = Gather<axis = 2>(parts, c{index})"
        yield f"{name}_heads = Transpose<perm = [0, 2, 1, 3]>({name}_token)"
    yield "keys = Identity(k_heads) values = Identity(v_heads)"
    mask = 3 if _has(node, 3) else None
    yield from _core(node, mask, 5 if _has(node, 5) else None, ranks)


def _multi_head(node: onnx.NodeProto, ranks: dict[str, int]) -> Lines:
    """MultiHeadAttention: queries, keys and values [batch, tokens, features], perhaps a past."""
    if not _has(node, 1) or not _has(node, 2) or any(_has(node, i) for i in (8, 9)):
        raise _refuse(node, "it must have queries, keys and values, and no shared buffer")
    yield from _numbers()
    yield f"fours = Constant<value = int64[4] {{0, 0, {integer(node, 'num_heads')}, -1}}>()"
    if _has(node, 3):
        yield "threes = Constant<value = int64[2] {3, -1}>() biases = Reshape(in3, threes)"
    for index, name in enumerate("qkv"):
        source = f"in{index}"
        if _has(node, 3):
            yield f"{name}_bias = Gather<axis = 0>(biases, c{index})"
            yield f"{name}_sum = Add({source}, {name}_bias)"
            source = f"{name}_sum"
        yield f"{name}_token = Reshape({source}, fours)"
        yield f"{name}_heads = Transpose<perm = [0, 2, 1, 3]>({name}_token)"
    for index, name in ((1, "key"), (2, "value")):
        whole = f"out{index}" if _makes(node, index) else f"{name}_all"
        past = index + 5
        new = f"{name[0]}_heads"
        joined = f"Concat<axis = 2>(in{past}, {new})" if _has(node, past) else f"Identity({new})"
        yield f"{whole} = {joined} {name}s = Identity({whole})"
    mask, bias = (index if _has(node, index) else None for index in (4, 5))
    yield from _core(node, mask, bias, ranks)


def _core(node: onnx.NodeProto, mask: int | None, bias: int | None, ranks: dict[str, int]) -> Lines:
    """softmax(q_heads keysᵀ scale + masks) values, heads side by side."""
    given = attributes_of(node)
    yield "keys_t = Transpose<perm = [0, 1, 3, 2]>(keys) raw = MatMul(q_heads, keys_t)"
    if scale := given.get("scale", 0.0):
        yield f"factor = Constant<value = float {{{scale}}}>() scores0 = Mul(raw, factor)"
    else:
        yield "q_shape = Shape(q_heads) width = Gather(q_shape, last)"
        yield "width_f = Cast<to = 1>(width) root = Sqrt(width_f) scores0 = Div(raw, root)"
    yield "size = Shape(raw) total = Gather(size, c3) new = Gather(size, c2)"
    yield "columns = Range(c0, total, c1)"
    masks = []
    if mask is not None:
        masks.append("kept")
        yield from _kept(node, mask, ranks)
    if given.get("unidirectional", 0):
        masks.append("causal")
        yield "first = Sub(total, new) rows = Range(first, total, c1) by_row = Unsqueeze(rows, ax1)"
        yield "earlier = LessOrEqual(columns, by_row) causal = Where(earlier, nought, lowest)"
    if bias is not None:
        masks.append(f"in{bias}")
    for index, name in enumerate(masks):
        yield f"scores{index + 1} = Add(scores{index}, {name})"
    yield f"weights = Softmax<axis = -1>(scores{len(masks)}) heads = MatMul(weights, values)"
    yield "by_token = Transpose<perm = [0, 2, 1, 3]>(heads) out0 = Reshape(by_token, flat)"


def _kept(node: onnx.NodeProto, mask: int, ranks: dict[str, int]) -> Lines:
    """What the mask adds: of each key, or of those behind so many."""
    rank = ranks.get(node.input[mask], 2)
    if rank == 1:
        yield f"lengths = Cast<to = 7>(in{mask}) length = Unsqueeze(lengths, ax1)"
        yield "inside = Less(columns, length)"
    elif rank == 2:
        yield f"inside = Cast<to = 9>(in{mask})"
    else:
        raise _refuse(node, f'its mask "{node.input[mask]}" must have 1 or 2 axes, not {rank}')
    yield "added = Where(inside, nought, lowest) kept = Unsqueeze(added, ax12)"


def _embed(node: onnx.NodeProto, ranks: dict[str, int]) -> Lines:
    """EmbedLayerNormalization: words, positions and segments, normalised."""
    epsilon = attributes_of(node).get("epsilon", 1e-12)
    yield from _numbers()
    yield "words = Gather(in2, in0)"
    if _has(node, 8):
        yield "places = Identity(in8)"
    else:
        yield "size = Shape(in0) count = Gather(size, c1) places = Range(c0, count, c1)"
    yield "positions = Gather(in3, places) sum0 = Add(words, positions)"
    total = "sum0"
    if _has(node, 1) and _has(node, 4):
        yield "segments = Gather(in4, in1) sum1 = Add(sum0, segments)"
        total = "sum1"
    if _makes(node, 2):
        yield f"out2 = Identity({total})"
    yield f"out0 = LayerNormalization<axis = -1, epsilon = {epsilon}>({total}, in5, in6)"
    if _makes(node, 1) and _has(node, 7):
        yield "mask_32 = Cast<to = 6>(in7) out1 = ReduceSum<keepdims = 0>(mask_32, ax1)"


Template = Callable[[onnx.NodeProto, dict[str, int]], Lines]
TEMPLATES: dict[str, Template] = {
    "Attention": _attention,
    "MultiHeadAttention": _multi_head,
    "EmbedLayerNormalization": _embed,
    "MoE": mixture,
}
