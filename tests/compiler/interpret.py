"""A float32 NumPy interpreter of canonical graphs: what they mean, without any hardware."""

from collections.abc import Mapping, Sequence

import numpy as np

from compiler.graph import Constant, Graph, Grid, Op, Operand, Scalar, Table, Tensor
from isa.iomap import picked_place

BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
}
UNARY = {
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "exp": np.exp,
    "sqrt": np.sqrt,
    "recip": lambda x: 1 / x,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "tanh": np.tanh,
}
REDUCE = {"reduce_sum": np.sum, "reduce_max": np.max}


def interpret(
    graph: Graph, ids: np.ndarray, past: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Outputs by ONNX name for `ids` (S,) after `past` {name: (1, heads, P, width)}."""
    return Interpreter(graph, ids, past).run()


def on_grid(x: np.ndarray, grid: Grid) -> np.ndarray:
    """The whole numbers that stand for x on a grid."""
    return np.clip(np.rint(x / np.float32(grid.scale)), grid.low, grid.high)


class Interpreter:
    """One run; every tensor is (S, groups, width) float32."""

    def __init__(self, graph: Graph, ids: np.ndarray, past: Mapping[str, np.ndarray]) -> None:
        self.graph, self.ids, self.past = graph, ids, past
        lengths = {array.shape[2] for array in past.values()}
        self.past_length = lengths.pop() if lengths else 0  # of a graph without caches
        self.values: dict[str, np.ndarray] = {}
        self.outputs: dict[str, np.ndarray] = {}

    def run(self) -> dict[str, np.ndarray]:
        with np.errstate(all="ignore"):
            for op in self.graph.ops:
                value = np.asarray(self.compute(op), dtype=np.float32)
                size = (len(self.ids), op.output.groups, op.output.width)
                assert value.shape == size, f"{op} gave {value.shape}"
                self.values[op.output.name] = value
        for output in self.graph.outputs:
            rows = self.values[output.tensor.name].reshape(1, len(self.ids), -1)
            place = picked_place(output.pick, output.pick_id, self.ids)
            array = rows[:, place] if output.pick else rows
            self.outputs[output.name] = array[..., 0] if output.squeezed else array
        return self.outputs

    def operand(self, x: Operand) -> np.ndarray:
        if isinstance(x, Tensor):
            return self.values[x.name]
        if isinstance(x, Constant):
            return self.graph.constants[x.name]
        if isinstance(x, Table):
            return self.graph.tables[x.name][self.past_length :][: len(self.ids), None]
        assert isinstance(x, Scalar)
        return np.float32(x.value)

    def compute(self, op: Op) -> np.ndarray:
        inputs = [self.operand(x) for x in op.inputs]
        size = (len(self.ids), op.output.groups, op.output.width)
        if op.kind in BINARY:
            return BINARY[op.kind](*inputs)
        if op.kind in UNARY:
            return UNARY[op.kind](*inputs)
        if op.kind == "round":
            steps = np.rint(inputs[0] / np.float32(op.attributes["unit"]))
            low, high = op.attributes["low"], op.attributes["high"]
            assert ((steps >= low) & (steps <= high)).all(), op
            return steps * op.attributes["unit"]
        if op.kind in REDUCE:
            return REDUCE[op.kind](*inputs, axis=-1, keepdims=True)
        if op.kind == "launch_max":
            return np.full(size, max(np.float32(0), inputs[0].max()))
        if op.kind == "embed":
            kinds = op.attributes["ids"] == "token_type_ids"  # as `feeds` gives them
            return inputs[0][self.ids % 2 if kinds else self.ids].reshape(size)
        if op.kind == "linear":
            return inputs[0] @ inputs[1]
        if op.kind == "top_index":
            if len(inputs) > 1:
                return np.concatenate([x.argmax(-1, keepdims=True) for x in inputs], axis=1)
            order = np.argsort(-inputs[0][:, 0], axis=-1, kind="stable")
            return order[:, : op.output.groups, None]
        if op.kind == "drop_max":
            first = inputs[0].argmax(-1, keepdims=True)
            return np.where(np.arange(op.output.width) == first, np.float32(-1e38), inputs[0])
        if op.kind == "one_hot":
            return inputs[0] == np.arange(op.output.width)
        if op.kind == "lookup":
            return inputs[0] @ inputs[1]
        if op.kind == "sum_groups":
            return inputs[0].sum(axis=1, keepdims=True)
        if op.kind in ("chosen_linear", "each_linear"):
            *chosen, weights = inputs[1:]
            matrices = weights[chosen[0][..., 0].astype(int)] if chosen else weights
            return (inputs[0][:, :, None] @ matrices)[:, :, 0]
        if op.kind == "view":
            return inputs[0].reshape(size)
        if op.kind == "rotate":
            order = (np.arange(op.output.width) + op.attributes["shift"]) % op.output.width
            return inputs[0][..., order] * np.array(op.attributes["signs"])
        if op.kind == "arrange":
            names = ("source", "position", "signs")
            rows = zip(*(op.attributes[name] for name in names), strict=True)
            return np.stack([sign * inputs[x][..., i] for x, i, sign in rows], axis=-1)
        assert op.kind == "attention"
        return self.attention(op, *inputs)

    def joined(self, past: str, present: str, new: np.ndarray, grids: Sequence[Grid]) -> np.ndarray:
        """Past and new keys or values, (heads, P + S, width), which are the output, too."""
        old, unit = self.past[past][0], np.float32(1)
        for grid in grids:
            old, unit = on_grid(old * unit, grid), np.float32(grid.scale)
        both = np.concatenate([old, new], axis=1)
        self.outputs[present] = both[None] * unit
        return both

    def attention(
        self, op: Op, q: np.ndarray, k: np.ndarray, v: np.ndarray, *others: np.ndarray
    ) -> np.ndarray:
        cache, scale = self.graph.caches[op.attributes["layer"]], np.float32(op.attributes["scale"])
        behind, ahead, cap = (op.attributes[name] for name in ("behind", "ahead", "softcap"))
        key, value = k.swapaxes(0, 1), v.swapaxes(0, 1)
        *biases, sinks = others if op.attributes.get("sinks") else (*others, None)
        if cache.past_key:
            key = self.joined(cache.past_key, cache.present_key, key, cache.key_grids)
            value = self.joined(cache.past_value, cache.present_value, value, cache.value_grids)
        score_grids = op.attributes.get("score_grids", ())
        weight_grid = op.attributes.get("weight_grid")
        out = np.empty_like(q)
        for i, query in enumerate(q):
            place = self.past_length + i
            first = max(0, place - behind) if behind >= 0 else 0
            end = min(place + ahead + 1, key.shape[1]) if ahead >= 0 else key.shape[1]
            for h, row in enumerate(query):
                shared = h // (len(query) // cache.heads)
                scores = scale * (key[shared, first:end] @ row)
                for grid, factor in score_grids:
                    scores = on_grid(scores, grid) * np.float32(factor)
                if cap:
                    scores = cap * np.tanh(scores / np.float32(cap))
                for bias in biases[:1] if len(biases) == 1 else biases[h : h + 1]:
                    by_token = bias[i, 0] if bias.ndim == 3 else bias[h]  # a table, a constant
                    scores = scores + by_token[first:end]
                sink = sinks[h] if sinks is not None else np.array([-np.inf], np.float32)
                scores = np.concatenate([scores, sink])
                weights = np.exp(scores - scores.max())
                weights = weights[:-1] / weights.sum()
                if weight_grid:
                    weights = on_grid(weights, weight_grid)
                out[i, h] = weights @ value[shared, first:end]
        return out
