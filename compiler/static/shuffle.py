"""Operators that only move numbers: each is run on the numbers' places instead of on themselves."""

import numpy as np
import onnx

from compiler.static.machine import Array
from compiler.static.node import Node
from compiler.static.values import Data, Known, Value, whole

# Which inputs are moved; the others say how, and must be known at compile time.
ALL = None
MOVED: dict[str, tuple[int, ...] | None] = {
    "CenterCropPad": (0,),
    "Compress": (0,),
    "Concat": ALL,
    "DepthToSpace": (0,),
    "Expand": (0,),
    "Flatten": (0,),
    "Gather": (0,),
    "GatherElements": (0,),
    "GatherND": (0,),
    "Identity": (0,),
    "Pad": (0, 2),
    "Reshape": (0,),
    "ReverseSequence": (0,),
    "Scatter": (0, 2),
    "ScatterElements": (0, 2),
    "ScatterND": (0, 2),
    "Slice": (0,),
    "SpaceToDepth": (0,),
    "Split": (0,),
    "Squeeze": (0,),
    "TensorScatter": (0, 1),
    "Tile": (0,),
    "Transpose": (0,),
    "Trilu": (0,),
    "Unsqueeze": (0,),
}


def shuffle(node: Node) -> list[Value]:
    """The outputs of an operator of `MOVED`."""
    state, moved = node.state, MOVED[node.op_type]
    if node.attribute("reduction", "none") != "none":
        raise state.refuse("adding up what is scattered to one place")
    roots: list[Array] = []
    arguments, count, types = [], 0, []
    for position, value in enumerate(node.inputs):
        if value is None:
            continue
        if moved is not ALL and position not in moved:
            arguments.append(state.known(value, f"its input {position}"))
            continue
        types.append(value.elem_type)
        if isinstance(value, Known):
            value = whole(state.array(value), value.shape, value.elem_type, frozenset())
        arguments.append(np.where(value.index > 0, value.index + count, 0))
        count += sum(root.size for root in value.roots)
        roots += value.roots
    if len(set(types)) > 1:
        raise state.refuse("inputs of different types")
    places = node.evaluator.run(node.proto, arguments)
    made: list[Value] = []
    for array in places:
        if array.size:
            made.append(_pruned(roots, array.astype(np.int64), types[0], node.origins()))
        else:
            made.append(state.empty(array.shape, types[0]))
    return made


def _pruned(roots: list[Array], index: np.ndarray, elem_type: int, origins: frozenset[str]) -> Data:
    """Without roots that nothing comes from."""
    kept: list[Array] = []
    result, offset, end = np.zeros_like(index), 0, 0
    for root in roots:
        inside = (index > end) & (index <= end + root.size)
        if inside.any():
            result[inside] = index[inside] - end + offset
            kept.append(root)
            offset += root.size
        end += root.size
    return Data(tuple(kept), result, elem_type, origins)


def dropout(node: Node) -> list[Value]:
    """Dropout at inference."""
    training = node.known(2, "training_mode")
    ratio = node.known(1, "the ratio")
    active = training is not None and bool(training.reshape(()))
    if active and (ratio is None or float(ratio.reshape(())) > 0):
        raise node.state.refuse("training")
    x = node.value(0)
    mask = Known(np.ones(x.shape, bool), onnx.TensorProto.BOOL)
    return [x, mask][: node.outputs()]
