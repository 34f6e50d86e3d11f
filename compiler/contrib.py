"""onnxruntime's own operators (`com.microsoft`) that jcc takes: what onnx cannot say of them.

Their definitions are onnxruntime's docs/ContribOperators.md.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from compiler.errors import CompileError
from compiler.evaluate_sample import Shape

DOMAIN = "com.microsoft"
OWN_DOMAIN = "jalapeno"  # of operators that other ones are replaced by
# It has no domain in the files of onnxruntime's tools, though the standard does not know it.
_WITHOUT_DOMAIN = "SimplifiedLayerNormalization"

Inference = Callable[[onnx.NodeProto, Sequence[Shape]], Sequence[Shape]]


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes that the node gives."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def integer(node: onnx.NodeProto, name: str, default: int | None = None) -> int:
    """An attribute that is a number; CompileError where it is missing and has no default."""
    value = attributes_of(node).get(name, default)
    if not isinstance(value, int):
        where = f'node "{node.name or node.output[0]}" ({node.op_type})'
        raise CompileError(where, f"its attribute {name} must be an integer, not {value!r}")
    return value


_FLOATS = {"epsilon", "scale", "softcap", "alpha", "mask_filter_value"}
_INTEGERS = {"axis", "bits", "block_size", "do_rotary", "gather_axis", "interleaved", "K", "N"}
_INTEGERS |= {"kv_num_heads", "local_window_size", "num_heads", "quantize_axis"}
_INTEGERS |= {"transA", "transB", "rotary_embedding_dim", "rotary_interleaved", "unidirectional"}
_FLOATS |= {"activation_alpha", "activation_beta", "swiglu_limit"}
_INTEGERS |= {"k", "normalize_routing_weights", "swiglu_fusion", "use_sparse_mixer"}
_LISTS = {"qkv_hidden_sizes"}


def check_attributes(model: onnx.ModelProto, source: str) -> None:
    """onnx's checker does not know these operators: attributes that are used must be numbers."""
    types = onnx.AttributeProto.AttributeType
    for node in model.graph.node:
        own = node.domain == DOMAIN or node.op_type == _WITHOUT_DOMAIN
        for item in node.attribute if own else ():
            names = {"FLOAT": _FLOATS, "INT": _INTEGERS, "INTS": _LISTS}
            wanted = next((kind for kind, known in names.items() if item.name in known), None)
            wrong = wanted is not None and item.type != types.Value(wanted)
            if wrong or (wanted == "FLOAT" and not np.isfinite(item.f)):
                where = f'{source}: node "{node.name or ", ".join(node.output)}" ({node.op_type})'
                problem = f"its attribute {item.name} must be a finite number of type {wanted}"
                raise CompileError(where, problem)


def is_contrib(node: onnx.NodeProto) -> bool:
    """Whether it is one of the operators here."""
    if node.op_type == _WITHOUT_DOMAIN:
        return True
    if node.op_type == "MaxOverTokens":
        return node.domain == OWN_DOMAIN
    return node.domain == DOMAIN and node.op_type in INFERENCE


def infer(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> dict[str, Shape]:
    """Shapes of the outputs that the node has; ValueError where the inputs' do not fit."""
    inputs = [shapes.get(name, ()) for name in node.input]
    try:
        found = INFERENCE[node.op_type](node, inputs)
    except (IndexError, KeyError, TypeError) as error:
        raise ValueError("an input or an attribute is missing") from error
    return {name: shape for name, shape in zip(node.output, found, strict=False) if name}


def _same(node: onnx.NodeProto, inputs: Sequence[Shape]) -> Sequence[Shape]:
    return [inputs[0]] * 4


def _rows(node: onnx.NodeProto, inputs: Sequence[Shape]) -> Sequence[Shape]:
    data, ids = inputs[:2]
    return [(*ids, *data[1:-1], data[-1] * 8 // integer(node, "bits", 4))]


def _product(node: onnx.NodeProto, inputs: Sequence[Shape]) -> Sequence[Shape]:
    return [(*inputs[0][:-1], integer(node, "N"))]


def _attention(node: onnx.NodeProto, inputs: Sequence[Shape]) -> Sequence[Shape]:
    batch, tokens, _ = inputs[0]
    _, heads, past, width = inputs[3]
    queries = integer(node, "num_heads")
    return [(batch, tokens, queries * width), *[(batch, heads, past + tokens, width)] * 2]


def _one_a_token(node: onnx.NodeProto, inputs: Sequence[Shape]) -> Sequence[Shape]:
    return [(*inputs[0][:2], *[1] * (len(inputs[0]) - 2))]


INFERENCE: dict[str, Inference] = {
    "MaxOverTokens": _one_a_token,
    "SimplifiedLayerNormalization": _same,
    "SkipSimplifiedLayerNormalization": _same,
    "SkipLayerNormalization": _same,
    **dict.fromkeys(("Gelu", "BiasGelu", "FastGelu", "QuickGelu"), _same),
    "MatMulNBits": _product,
    "GatherBlockQuantized": _rows,
    "RotaryEmbedding": _same,
    "GroupQueryAttention": _attention,
}


def fix_caches(model: onnx.ModelProto) -> None:
    """Heads and width of the caches, where exporters leave them open: GroupQueryAttention knows."""
    inputs = {value.name: value for value in model.graph.input}
    for node in model.graph.node:
        if node.op_type != "GroupQueryAttention" or not is_contrib(node):
            continue
        queries, heads = integer(node, "num_heads"), integer(node, "kv_num_heads")
        names = [*node.input, *[""] * 5]
        size = _features(model, names[0])
        parts = queries if names[1] else queries + 2 * heads
        for name in names[3:5]:
            dims = inputs[name].type.tensor_type.shape.dim if name in inputs else []
            if size is not None and len(dims) == 4 and parts > 0 and size % parts == 0:
                for axis, value in ((1, heads), (3, size // parts)):
                    if dims[axis].dim_param:
                        dims[axis].dim_value = value


def _features(model: onnx.ModelProto, name: str) -> int | None:
    """Size of the last axis of a product, of a bias added to it, or of what is reshaped."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    for node in model.graph.node:
        if node.op_type == "Constant" and isinstance(
            value := attributes_of(node).get("value"), onnx.TensorProto
        ):
            stored[node.output[0]] = value
    node = producers.get(name)
    if node is None or not node.input:
        return None
    if node.op_type == "MatMulNBits":
        return integer(node, "N")
    last = stored.get(node.input[-1])
    if node.op_type in ("MatMul", "Add") and last is not None and last.dims:
        return int(last.dims[-1])
    if node.op_type == "Reshape" and last is not None:
        shape = numpy_helper.to_array(last)
        return int(shape[-1]) if shape.ndim == 1 and shape.size and shape[-1] > 0 else None
    return None


def dequantised_rows(node: onnx.NodeProto, inputs: Sequence[np.ndarray | None]) -> np.ndarray:
    """The embedding (V, D) fp32 of a GatherBlockQuantized: data, scales, zero points.

    Codes of 4 or 8 bits in bytes, the lowest first, blocks along D; the zero point is 2^(bits-1) if
    none is given. ValueError where sizes differ or other axes are meant.
    """
    bits, block = integer(node, "bits", 4), integer(node, "block_size", 128)
    data, scales, zeros = (*inputs, None)[:3]
    if integer(node, "gather_axis", 0) != 0 or integer(node, "quantize_axis", 1) != 1:
        raise ValueError("rows must be gathered and blocks lie along them")
    if data is None or scales is None or data.dtype != np.uint8 or data.ndim != 2 or bits > 8:
        raise ValueError("codes in rows of bytes, and scales, must be given")
    codes = _unpacked(data, bits).astype(np.float32)
    zero = np.full(codes.shape, 1 << bits - 1, np.float32)
    if zeros is not None:
        zero = np.repeat(_unpacked(zeros, bits), block, axis=1)[:, : codes.shape[1]]
    scale = np.repeat(scales.astype(np.float32), block, axis=1)[:, : codes.shape[1]]
    return (codes - zero) * scale


def dequantised(node: onnx.NodeProto, inputs: Sequence[np.ndarray | None]) -> np.ndarray:
    """The weights (K, N) fp32 of a MatMulNBits, from its constant inputs behind the first.

    Codes of ``bits`` bits, the lowest first, in rows of N, blocks along K; the value is (code -
    zero point) · scale, the zero point 2^(bits-1) if none is given. ValueError where sizes differ.
    """
    k, n, block = (integer(node, name) for name in ("K", "N", "block_size"))
    bits = integer(node, "bits", 4)
    packed, scales, zeros = (*inputs, None)[:3]
    if min(k, n, block) < 1:
        raise ValueError(f"K {k}, N {n} and block_size {block} must be at least 1")
    if packed is None or scales is None or packed.dtype != np.uint8 or not 1 <= bits <= 8:
        raise ValueError("codes of 1 to 8 bits in bytes, and scales, must be given")
    blocks = -(-k // block)
    if 8 * packed.size != n * blocks * block * bits:
        raise ValueError(f"{packed.size} bytes are not {n} rows of {blocks} blocks")
    codes = _unpacked(packed.reshape(n, -1), bits)[:, : blocks * block].reshape(n, blocks, block)
    if zeros is None:
        zero = np.full((n, blocks), 1 << bits - 1, np.float32)
    elif zeros.dtype == np.uint8:
        zero = _unpacked(zeros.reshape(n, -1), bits)[:, :blocks].astype(np.float32)
    else:
        zero = zeros.reshape(n, blocks).astype(np.float32)
    scale = scales.reshape(n, blocks).astype(np.float32)
    values = (codes.astype(np.float32) - zero[..., None]) * scale[..., None]
    return values.reshape(n, -1)[:, :k].T


def _unpacked(rows: np.ndarray, bits: int) -> np.ndarray:
    """(N, bytes) → (N, codes)."""
    flat = np.unpackbits(rows, axis=1, bitorder="little")
    usable = flat.shape[1] // bits * bits
    weights = (1 << np.arange(bits)).astype(np.uint8)
    return (flat[:, :usable].reshape(len(rows), -1, bits) * weights).sum(-1, dtype=np.uint8)
