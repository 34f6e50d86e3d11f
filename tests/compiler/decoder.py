"""A one-layer decoder with KV cache as ONNX text, with parts to replace, and its inputs."""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import numpy_helper, parser

HEADS, KV_HEADS, WIDTH, MODEL, VOCABULARY = 6, 2, 4, 24, 19

HEADER = """
<ir_version: 9, opset_import: ["" : 18]>
decoder (int64[1, S] input_ids, int64[1, T] attention_mask, int64[1, S] position_ids,
  float[1, 2, P, 4] past_0_key, float[1, 2, P, 4] past_0_value)
  => (float[1, S, 19] logits, float[1, 2, T, 4] present_0_key, float[1, 2, T, 4] present_0_value)
{
  embedded = Gather(table, input_ids)
"""
PARTS = {
    "feature": "x = Mul(embedded, gain)",
    "qkv": """
        q_flat = MatMul(x, wq)  k_flat = MatMul(x, wk)  v_flat = MatMul(x, wv)
        q_heads = Reshape(q_flat, q_shape)  k_heads = Reshape(k_flat, kv_shape)
        v_heads = Reshape(v_flat, kv_shape)
        q_raw = Transpose<perm = [0, 2, 1, 3]>(q_heads)
        k_raw = Transpose<perm = [0, 2, 1, 3]>(k_heads)
        v = Transpose<perm = [0, 2, 1, 3]>(v_heads)""",
    "tables": """
        columns = Unsqueeze(position_ids, two)  positions = Cast<to = 1>(columns)
        angle_half = Mul(positions, frequency)
        angle = Concat<axis = -1>(angle_half, angle_half)
        cos_flat = Cos(angle)  sin_flat = Sin(angle)
        cos = Unsqueeze(cos_flat, one)  sin = Unsqueeze(sin_flat, one)""",
    "rotation": """
        q_first = Slice(q_raw, zero, two, three)  q_second = Slice(q_raw, two, big, three)
        q_minus = Neg(q_second)  q_turned = Concat<axis = 3>(q_minus, q_first)
        q_cos = Mul(q_raw, cos)  q_sin = Mul(q_turned, sin)  q = Add(q_cos, q_sin)
        k_first, k_second = Split<axis = 3, num_outputs = 2>(k_raw)
        k_minus = Neg(k_second)  k_turned = Concat<axis = 3>(k_minus, k_first)
        k_cos = Mul(k_raw, cos)  k_sin = Mul(k_turned, sin)  k = Add(k_cos, k_sin)""",
    "cache": """
        present_0_key = Concat<axis = 2>(past_0_key, k)
        present_0_value = Concat<axis = 2>(past_0_value, v)""",
    "repeat": """
        key_5d = Unsqueeze(present_0_key, two)  value_5d = Unsqueeze(present_0_value, two)
        mask_size = Shape(attention_mask)  total = Slice(mask_size, one, two)
        wide = Concat<axis = 0>(one, two, three, total, four)
        merged = Concat<axis = 0>(one, six, total, four)
        key_wide = Expand(key_5d, wide)  value_wide = Expand(value_5d, wide)
        keys = Reshape(key_wide, merged)  values = Reshape(value_wide, merged)
        keys_t = Transpose<perm = [0, 1, 3, 2]>(keys)""",
    "mask": """
        total_scalar = Squeeze(total)  index = Range(zero_scalar, total_scalar, one_scalar)
        rows = Unsqueeze(position_ids, one_two)
        rows_t = Transpose<perm = [0, 1, 3, 2]>(rows)
        allowed = LessOrEqual(index, rows_t)  mask = Where(allowed, nought, forbidden)""",
    "scores": """
        raw = MatMul(q, keys_t)  scaled = Mul(raw, half)  masked = Add(scaled, mask)
        weights = Softmax<axis = -1>(masked)""",
    "output": """
        heads = MatMul(weights, values)  by_token = Transpose<perm = [0, 2, 1, 3]>(heads)
        flat = Reshape(by_token, flat_shape)  attended = MatMul(flat, wo)
        y = Add(embedded, attended)""",
    "logits": "logits = MatMul(y, head)",
}


def decoder(extra: Mapping[str, np.ndarray] | None = None, **parts: str) -> onnx.ModelProto:
    """The decoder with some PARTS replaced and `extra` constants; weights are random, seeded."""
    unknown = parts.keys() - PARTS.keys()
    assert not unknown, unknown
    model = parser.parse_model(HEADER + "\n".join((PARTS | parts).values()) + "\n}")
    arrays = _weights(np.random.default_rng(20)) | _indices() | dict(extra or {})
    used = {name for node in model.graph.node for name in node.input}
    for name, array in arrays.items():
        if name in used:
            model.graph.initializer.append(numpy_helper.from_array(array, name))
    names = [name for node in model.graph.node for name in node.output]
    assert len(names) == len(set(names)), sorted(n for n in set(names) if names.count(n) > 1)
    return model


def decoder_without_positions() -> onnx.ModelProto:
    """The same function of ids and past alone: no mask and no positions among the inputs."""
    parts = {
        "tables": """
            new_size = Shape<start = 1>(input_ids)
            past_size = Shape<start = 2, end = 3>(past_0_key)
            end = Add(new_size, past_size)  first = Squeeze(past_size)  last = Squeeze(end)
            position_row = Range(first, last, one_scalar)
            position_2d = Unsqueeze(position_row, zero)
            columns = Unsqueeze(position_2d, two)  positions = Cast<to = 1>(columns)
            angle_half = Mul(positions, frequency)
            angle = Concat<axis = -1>(angle_half, angle_half)
            cos_flat = Cos(angle)  sin_flat = Sin(angle)
            cos = Unsqueeze(cos_flat, one)  sin = Unsqueeze(sin_flat, one)""",
        "repeat": """
            key_5d = Unsqueeze(present_0_key, two)  value_5d = Unsqueeze(present_0_value, two)
            total = Add(new_size, past_size)
            wide = Concat<axis = 0>(one, two, three, total, four)
            merged = Concat<axis = 0>(one, six, total, four)
            key_wide = Expand(key_5d, wide)  value_wide = Expand(value_5d, wide)
            keys = Reshape(key_wide, merged)  values = Reshape(value_wide, merged)
            keys_t = Transpose<perm = [0, 1, 3, 2]>(keys)""",
        "mask": """
            index = Range(zero_scalar, last, one_scalar)  rows = Unsqueeze(position_row, one)
            allowed = LessOrEqual(index, rows)  mask = Where(allowed, nought, forbidden)""",
    }
    model = decoder(**parts)
    del model.graph.input[1:3]
    return model


def decoder_without_cache(
    extra: Mapping[str, np.ndarray] | None = None, **parts: str
) -> onnx.ModelProto:
    """All tokens at once: no past, no present."""
    alone = "present_0_key = Identity(k)  present_0_value = Identity(v)"
    model = decoder(extra, **({"cache": alone} | parts))
    del model.graph.input[3:]
    del model.graph.output[1:]
    return model


def _weights(random: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {
        "table": (VOCABULARY, MODEL),
        "wq": (MODEL, HEADS * WIDTH),
        "wk": (MODEL, KV_HEADS * WIDTH),
        "wv": (MODEL, KV_HEADS * WIDTH),
        "wo": (HEADS * WIDTH, MODEL),
        "head": (MODEL, VOCABULARY),
        "gain": (MODEL,),
    }
    arrays = {k: random.standard_normal(v, dtype=np.float32) / 2 for k, v in shapes.items()}
    arrays["table"][:, 5] *= 20  # an outlier feature
    return arrays


def _indices() -> dict[str, np.ndarray]:
    vectors = {
        "zero": [0], "one": [1], "two": [2], "three": [3], "four": [4], "six": [6], "big": [2**62],
        "one_two": [1, 2], "q_shape": [1, -1, HEADS, WIDTH], "kv_shape": [1, -1, KV_HEADS, WIDTH],
        "flat_shape": [0, -1, MODEL],
    }  # fmt: skip
    numbers = {"nought": 0.0, "forbidden": -np.inf, "half": 0.5}
    return {
        **{name: np.array(value, dtype=np.int64) for name, value in vectors.items()},
        **{name: np.array(value, dtype=np.float32) for name, value in numbers.items()},
        "frequency": np.array([1.0, 0.1], dtype=np.float32),
        "zero_scalar": np.array(0, dtype=np.int64),
        "one_scalar": np.array(1, dtype=np.int64),
    }


def past_of(model: onnx.ModelProto, length: int, random: np.random.Generator) -> dict:
    """Random past keys and values of `length` tokens for every cache input."""
    past = {}
    for value in model.graph.input:
        if value.name.startswith("past"):
            dims = [d.dim_value for d in value.type.tensor_type.shape.dim]
            shape = (1, dims[1], length, dims[3])
            past[value.name] = random.standard_normal(shape, dtype=np.float32)
    return past


def feeds(model: onnx.ModelProto, ids: np.ndarray, past: Mapping[str, np.ndarray]) -> dict:
    """The inputs that `model` has, for `ids` (S,) after `past`."""
    length = next(iter(past.values())).shape[2] if past else 0
    total = length + len(ids)
    values = {
        "input_ids": ids[None],
        "attention_mask": np.ones((1, total), dtype=np.int64),
        "position_ids": np.arange(length, total, dtype=np.int64)[None],
        "token_type_ids": ids[None] % 2,
        **past,
    }
    return {value.name: values[value.name] for value in model.graph.input if value.name in values}
