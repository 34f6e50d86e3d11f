"""Some features of a value: the selection moves back to the weights that make them.

Exporters write one product for queries, keys and values, or for both halves of a gated MLP, and cut
its result. Cutting the weights instead costs nothing: no operator moves features.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from compiler.graph import Constant, Op, Operand, Scalar, Source, Tensor

if TYPE_CHECKING:
    from compiler.canonical_context import Context

_BINARY = ("add", "sub", "mul", "max", "min")
_UNARY = ("sigmoid", "exp", "sqrt", "recip", "rsqrt", "tanh", "round")


def select(
    context: "Context", root: Tensor, position: np.ndarray, sources: Sequence[Source]
) -> Tensor | None:
    """The features ``position`` (n) of ``root``, as (1, n); None where an operator between ``root``
    and the product that makes it does not work feature by feature."""
    op = context.ops.get(root.name)
    if op is None:
        return None
    if op.kind == "view":
        source = op.inputs[0]
        assert isinstance(source, Tensor)
        return select(context, source, position, sources)
    inputs = _inputs(context, op, position, sources)
    if inputs is None:
        return None
    size = 1, len(position)
    sources = (*op.sources, *sources)
    return context.once(op.kind, inputs, size, root.name, sources, op.attributes)


def _inputs(
    context: "Context", op: Op, position: np.ndarray, sources: Sequence[Source]
) -> tuple[Operand, ...] | None:
    """The operands of ``op`` for these features alone."""
    if op.kind == "linear" and op.output.groups == 1:
        x, weight = op.inputs
        assert isinstance(weight, Constant)
        columns = context.constants[weight.name][:, position]
        return x, context.add_constant(_name(weight, position), columns)
    if op.kind not in (*_BINARY, *_UNARY):
        return None
    found = [_operand(context, x, op.output, position, sources) for x in op.inputs]
    return None if None in found else tuple(x for x in found if x is not None)


def _operand(
    context: "Context", x: Operand, output: Tensor, position: np.ndarray, sources: Sequence[Source]
) -> Operand | None:
    if isinstance(x, Scalar):
        return x
    if isinstance(x, Constant):
        values = np.broadcast_to(context.constants[x.name], (output.groups, output.width))
        return context.add_constant(_name(x, position), values.reshape(1, -1)[:, position])
    if isinstance(x, Tensor) and x.size == output.size:
        return select(context, x, position, sources)
    return None  # broadcast, or by position: it may differ between the groups


def _name(constant: Constant, position: np.ndarray) -> str:
    return f"{constant.name}[{position[0]}…{position[-1]}]"
