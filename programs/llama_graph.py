"""The ONNX graph of a Llama-style decoder with KV cache, as exporters write it.

RMSNorm, rotary positions, grouped queries, gated SiLU, an embedding that is also the head; fp32
throughout. Inputs and outputs are named as exporters name them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from graph_writer import Absent, GraphWriter

OPSET = 20
IR_VERSION = 9  # the first that opset 20 belongs to


@dataclass(frozen=True)
class Decoder:
    """Sizes of a model. ``weights(name)`` gives the array of "embed", "norm" and, with "layers.N."
    before them, "norm1", "attn.q", "attn.k", "attn.v", "attn.o", "norm2", "ffn.gate", "ffn.up",
    "ffn.down": matrices as (inputs, outputs), the rotated halves of a head behind each other."""

    name: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    ffn: int
    vocabulary: int
    rope_base: float
    eps: float
    weights: Callable[[str], np.ndarray | Absent]

    @property
    def width(self) -> int:
        """Elements of a head."""
        return self.hidden // self.heads


def halves_first(weight: np.ndarray, heads: int) -> np.ndarray:
    """Columns of each head from pairs (0,1), (2,3)… to all first, then all second coordinates.

    weight: (K, heads * d) → the same shape.
    """
    width = weight.shape[1] // heads
    order = np.r_[np.arange(0, width, 2), np.arange(1, width, 2)]
    return weight.reshape(-1, heads, width)[:, :, order].reshape(weight.shape)


def _norm(g: GraphWriter, x: str, model: Decoder, name: str) -> str:
    square = g.op("Mul", x, x, name=f"{name}/square")
    mean = g.op("ReduceMean", square, g.ints(-1), name=f"{name}/mean", keepdims=1)
    shifted = g.op("Add", mean, g.constant("eps", np.float32(model.eps)), name=f"{name}/shifted")
    root = g.op("Sqrt", shifted, name=f"{name}/root")
    inverse = g.op("Reciprocal", root, name=f"{name}/inverse")
    scaled = g.op("Mul", x, inverse, name=f"{name}/scaled")
    return g.op(
        "Mul", scaled, g.constant(f"{name}.weight", model.weights(name)), name=f"{name}/out"
    )


def _rotary_tables(g: GraphWriter, width: int, base: float) -> tuple[str, str]:
    """cos and sin of the positions: (batch, 1, S, width), both halves alike."""
    angles = base ** (-2.0 * np.arange(width // 2) / width)
    frequencies = g.constant("inv_freq", np.r_[angles, angles].astype(np.float32))
    positions = g.op("Cast", "position_ids", name="rotary/float", to=TensorProto.FLOAT)
    column = g.op("Unsqueeze", positions, g.ints(1, 3), name="rotary/column")
    phase = g.op("Mul", column, frequencies, name="rotary/phase")
    return g.op("Cos", phase, name="rotary/cos"), g.op("Sin", phase, name="rotary/sin")


def _rotate(g: GraphWriter, x: str, tables: tuple[str, str], width: int, name: str) -> str:
    cos, sin = tables
    half = width // 2
    first = g.op("Slice", x, g.ints(0), g.ints(half), g.ints(-1), name=f"{name}/first")
    second = g.op("Slice", x, g.ints(half), g.ints(width), g.ints(-1), name=f"{name}/second")
    minus = g.op("Neg", second, name=f"{name}/minus")
    turned = g.op("Concat", minus, first, name=f"{name}/turned", axis=-1)
    straight = g.op("Mul", x, cos, name=f"{name}/straight")
    across = g.op("Mul", turned, sin, name=f"{name}/across")
    return g.op("Add", straight, across, name=f"{name}/out")


def _mask(g: GraphWriter) -> str:
    """(batch, 1, S, T) fp32: 0 where query i may see key j, the lowest float elsewhere.

    Seen is what lies at or before position P + i and has attention_mask 1.
    """
    new = g.op("Shape", "input_ids", name="mask/new", start=1, end=2)
    total = g.op("Shape", "attention_mask", name="mask/total", start=1, end=2)
    past = g.op("Sub", total, new, name="mask/past")
    zero, one, none = (g.constant(f"int_{v}", np.array(v, np.int64)) for v in (0, 1, -1))
    last = g.op("Squeeze", total, name="mask/last")
    keys = g.op("Range", zero, last, one, name="mask/keys")
    rows = g.op("Range", zero, g.op("Squeeze", new, name="mask/count"), one, name="mask/rows")
    queries = g.op("Unsqueeze", g.op("Add", rows, past, name="mask/at"), none, name="mask/queries")
    causal = g.op("LessOrEqual", keys, queries, name="mask/causal")
    real = g.op("Cast", "attention_mask", name="mask/real", to=TensorProto.BOOL)
    present = g.op("Unsqueeze", real, g.ints(1, 2), name="mask/present")
    seen = g.op("And", causal, present, name="mask/seen")
    lowest = g.constant("lowest", np.float32(np.finfo(np.float32).min))
    return g.op("Where", seen, g.constant("nought", np.float32(0)), lowest, name="mask/out")


def _linear(g: GraphWriter, x: str, model: Decoder, name: str) -> str:
    return g.op("MatMul", x, g.constant(f"{name}.weight", model.weights(name)), name=name)


def _heads(g: GraphWriter, x: str, model: Decoder, heads: int, name: str) -> str:
    """The product with a weight as (batch, heads, S, d)."""
    flat = _linear(g, x, model, name)
    split = g.op("Reshape", flat, g.ints(0, 0, heads, model.width), name=f"{name}/split")
    return g.op("Transpose", split, name=f"{name}/heads", perm=[0, 2, 1, 3])


def _repeat(g: GraphWriter, x: str, groups: int, repeats: int, width: int, name: str) -> str:
    """Each KV head once per query: (batch, groups, T, d) → (batch, groups * repeats, T, d)."""
    apart = g.op("Unsqueeze", x, g.ints(2), name=f"{name}/apart")
    shape = g.ints(1, 1, repeats, 1, 1)
    copies = g.op("Expand", apart, shape, name=f"{name}/copies")
    return g.op("Reshape", copies, g.ints(0, groups * repeats, -1, width), name=f"{name}/all")


def _attention(g: GraphWriter, x: str, model: Decoder, i: int, tables, mask: str) -> str:
    name, width, repeats = f"layers.{i}.attn", model.width, model.heads // model.kv_heads
    q = _heads(g, x, model, model.heads, f"{name}.q")
    q = _rotate(g, q, tables, width, f"{name}.rope_q")
    new = {"key": _heads(g, x, model, model.kv_heads, f"{name}.k")}
    new["key"] = _rotate(g, new["key"], tables, width, f"{name}.rope_k")
    new["value"] = _heads(g, x, model, model.kv_heads, f"{name}.v")
    every = {}
    for part, value in new.items():
        past, present = f"past_key_values.{i}.{part}", f"present.{i}.{part}"
        g.op("Concat", past, value, name=present, axis=2)
        every[part] = _repeat(g, present, model.kv_heads, repeats, width, f"{name}.{part}")
    keys = g.op("Transpose", every["key"], name=f"{name}/keys", perm=[0, 1, 3, 2])
    scale = g.constant("scale", np.float32(width**-0.5))
    scores = g.op("Mul", g.op("MatMul", q, keys, name=f"{name}/qk"), scale, name=f"{name}/scores")
    masked = g.op("Add", scores, mask, name=f"{name}/masked")
    weights = g.op("Softmax", masked, name=f"{name}/weights", axis=-1)
    mixed = g.op("MatMul", weights, every["value"], name=f"{name}/mixed")
    rows = g.op("Transpose", mixed, name=f"{name}/rows", perm=[0, 2, 1, 3])
    flat = g.op("Reshape", rows, g.ints(0, 0, model.heads * width), name=f"{name}/flat")
    return _linear(g, flat, model, f"{name}.o")


def _ffn(g: GraphWriter, x: str, model: Decoder, i: int) -> str:
    name = f"layers.{i}.ffn"
    gate, up = (_linear(g, x, model, f"{name}.{part}") for part in ("gate", "up"))
    silu = g.op("Mul", gate, g.op("Sigmoid", gate, name=f"{name}/sigmoid"), name=f"{name}/silu")
    return _linear(g, g.op("Mul", silu, up, name=f"{name}/act"), model, f"{name}.down")


def _values(model: Decoder) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    """Inputs and outputs of the graph, with their symbolic axes."""
    batch, new, past = "batch_size", "sequence_length", "past_sequence_length"
    total = f"{past} + {new}"
    integer, real, info = TensorProto.INT64, TensorProto.FLOAT, helper.make_tensor_value_info
    inputs = [info("input_ids", integer, [batch, new])]
    inputs += [info("attention_mask", integer, [batch, total])]
    inputs += [info("position_ids", integer, [batch, new])]
    outputs = [info("logits", real, [batch, new, model.vocabulary])]
    for i in range(model.layers):
        for part in ("key", "value"):
            cache = [batch, model.kv_heads, past, model.width]
            inputs.append(info(f"past_key_values.{i}.{part}", real, cache))
            cache = [batch, model.kv_heads, total, model.width]
            outputs.append(info(f"present.{i}.{part}", real, cache))
    return inputs, outputs


def build_graph(model: Decoder) -> onnx.ModelProto:
    """The ONNX model, not checked yet."""
    g = GraphWriter()
    embedding = g.constant("embed.weight", model.weights("embed"))
    x = g.op("Gather", embedding, "input_ids", name="embed")
    tables, mask = _rotary_tables(g, model.width, model.rope_base), _mask(g)
    for i in range(model.layers):
        h = _norm(g, x, model, f"layers.{i}.norm1")
        attended = _attention(g, h, model, i, tables, mask)
        x = g.op("Add", x, attended, name=f"layers.{i}/residual1")
        h = _norm(g, x, model, f"layers.{i}.norm2")
        x = g.op("Add", x, _ffn(g, h, model, i), name=f"layers.{i}/residual2")
    h = _norm(g, x, model, "norm")
    g.op("MatMul", h, g.op("Transpose", embedding, name="head", perm=[1, 0]), name="logits")
    inputs, outputs = _values(model)
    graph = helper.make_graph(g.nodes, model.name, inputs, outputs, list(g.constants.values()))
    opset = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION)
