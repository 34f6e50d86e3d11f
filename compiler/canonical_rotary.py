"""Rotary positions: x cos + rotate(x) sin, the tables by position."""

import numpy as np
import onnx

from compiler.canonical_context import Context, attribute, refuse, same
from compiler.canonical_elementwise import Emitter
from compiler.canonical_operands import full_size, shuffled
from compiler.evaluate import source_of
from compiler.evaluate_sample import Sample, Values
from compiler.graph import Operand, Tensor


def rotated(
    context: Context, node: onnx.NodeProto, x: Tensor, cos: Operand, sin: Operand
) -> Tensor:
    """The halves of each head rotate against each other; tables are as wide as a head."""
    half, emitter = x.width // 2, Emitter(context, node)
    turn = {"shift": half, "signs": (-1,) * half + (1,) * half}
    size, out = (x.groups, x.width), node.output[0]
    turned = context.once("rotate", (x,), size, out, (source_of(node),), turn)
    return emitter.emit("add", emitter.emit("mul", x, cos), emitter.emit("mul", turned, sin))


def rotary_embedding(context: Context, node: onnx.NodeProto) -> None:
    """RotaryEmbedding of whole heads, not interleaved."""
    if attribute(node, "interleaved", 0):
        refuse(node, "its interleaved must be 0")
    x, layout = context.tensor(node.input[0], node), context.layout(node.input[0], node)
    heads = attribute(node, "num_heads", 0) if layout.rank == 3 else x.groups
    if not heads or not layout.width_is_last or x.size % heads:
        refuse(node, "it must have num_heads, or heads on an axis of their own")
    width = x.size // heads
    if attribute(node, "rotary_embedding_dim", 0) not in (0, width):
        refuse(node, f"it must rotate whole heads of {width}")
    x = context.view(x, (heads, width), node.output[0], (source_of(node),))
    cos, sin = (_table(context, node, name, width) for name in node.input[1:3])
    context.define(node.output[0], rotated(context, node, x, cos, sin), node)


def _table(context: Context, node: onnx.NodeProto, name: str, width: int) -> Operand:
    """A row for each position, both halves of a head alike, checked to be its function."""
    positions = node.input[3] if len(node.input) > 3 else ""
    names = [name, positions] if positions else [name]
    if not all(context.is_known(each) for each in names):
        refuse(node, "its tables and positions must not depend on tokens")
    evaluator = context.evaluator

    def rows(run: Values) -> np.ndarray:
        table = evaluator.known(name, run)
        try:
            found = table[evaluator.known(positions, run)[0]] if positions else table[0]
        except IndexError as error:
            refuse(node, f'"{name}" has no row for some positions: {error}')
        return np.tile(found.astype(np.float32), 2)

    full = rows(evaluator.run(Sample(full_size(context), 0), names))
    if full.ndim != 2 or len(full) != full_size(context):
        refuse(node, f'"{name}" must have a row for each token')
    cases = list(zip(context.samples, context.runs, strict=True))
    if evaluator.interface.positions:
        cases.append((shuffled(context), evaluator.run(shuffled(context), names)))
    for sample, run in cases:
        wanted = full[sample.position_array()[0]]
        if wanted.shape[1] != width or not same(rows(run), wanted):
            refuse(node, f'"{name}" must give {width // 2} numbers, by the position alone')
    return context.add_table(name, full[: context.max_context])
