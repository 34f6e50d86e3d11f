"""Some rows of known values that are too large to be evaluated whole: masks of long contexts.

What a mask is made of is small until queries meet keys. From there on nodes are element-wise, or
write leading axes in another way: their rows, on the last axis but one, can be evaluated alone.
"""

from collections.abc import Sequence

import numpy as np
import onnx

from compiler.errors import CompileError
from compiler.evaluate_node import LARGEST, Nodes, source_of

ELEMENTWISE = {
    "Abs", "Add", "And", "Cast", "Div", "Equal", "Greater", "GreaterOrEqual", "Identity", "Less",
    "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Sub", "Where", "Xor",
}  # fmt: skip
KEEPS_ROWS = {"Squeeze", "Unsqueeze"}  # if the last two axes stay


def run_rows(
    nodes: Nodes,
    node: onnx.NodeProto,
    inputs: Sequence[np.ndarray],
    are_rows: Sequence[bool],
    queries: np.ndarray,
    size: int,
) -> list[np.ndarray] | None:
    """The rows ``queries``, of ``size``, of the node's value; None if it is to be evaluated whole:
    it is not too large, and no input ``are_rows`` already. CompileError where rows alone do not
    tell."""
    inputs, expands = list(inputs), node.op_type == "Expand"
    if not any(are_rows):
        if node.op_type not in ELEMENTWISE and not expands:
            return None
        shapes = [tuple(inputs[1])] if expands else [x.shape for x in inputs]
        try:
            count = np.prod(np.broadcast_shapes(inputs[0].shape, *shapes), dtype=np.int64)
        except ValueError:
            return None
        if count <= LARGEST:
            return None
    if node.op_type in ELEMENTWISE or expands:
        for index, x in enumerate(inputs):
            if not are_rows[index] and x.ndim > 1 and x.shape[-2] == size:
                inputs[index] = x[..., queries, :]
        if expands and inputs[1].size > 1 and inputs[1][-2] == size:
            inputs[1] = np.concatenate([inputs[1][:-2], [len(queries)], inputs[1][-1:]])
        return nodes.run(node, inputs)
    if node.op_type in KEEPS_ROWS and are_rows[0]:
        outputs = nodes.run(node, inputs)
        if outputs[0].shape[-2:] == inputs[0].shape[-2:]:
            return outputs
    problem = f"its value has {size} rows, which cannot be evaluated one by one"
    raise CompileError(str(source_of(node)), problem, "choose a smaller --max-context")
