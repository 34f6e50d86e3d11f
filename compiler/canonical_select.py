"""Some features of a value: the selection moves back to the weights that make them.

Exporters write one product for queries, keys and values, or for both halves of a gated MLP, and cut
its result. Cutting the weights instead costs nothing: no operator moves features.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from compiler.graph import Constant, Op, Operand, Scalar, Source, Tensor
from compiler.storage import PRODUCTS

if TYPE_CHECKING:
    from compiler.canonical_context import Context

_BINARY = ("add", "sub", "mul", "max", "min")
_UNARY = ("sigmoid", "exp", "sqrt", "recip", "rsqrt", "tanh", "round")


def select(
    context: "Context", root: Tensor, position: np.ndarray, sources: Sequence[Source]
) -> Tensor | None:
    """The features ``position`` (n) of ``root``, as (1, n), or as (groups, n / groups) where they
    are the same of each group; None where an operator between ``root`` and the product that makes
    it does not work feature by feature."""
    op = context.ops.get(root.name)
    if op is None:
        return None
    if op.kind == "view":
        source = op.inputs[0]
        assert isinstance(source, Tensor)
        return select(context, source, position, sources)
    columns = _of_each_group(op.output, position)
    size = (1, len(position)) if columns is None else (op.output.groups, len(columns))
    inputs = _inputs(context, op, position, columns, size, sources)
    if inputs is None:
        return None
    return context.once(op.kind, inputs, size, root.name, (*op.sources, *sources), op.attributes)


def _of_each_group(output: Tensor, position: np.ndarray) -> np.ndarray | None:
    """The columns that all groups lose alike, if they do."""
    if len(position) % output.groups:
        return None
    rows = position.reshape(output.groups, -1) - output.width * np.arange(output.groups)[:, None]
    inside = (rows >= 0).all() and (rows < output.width).all()
    return rows[0] if inside and (rows == rows[0]).all() else None


def _inputs(
    context: "Context",
    op: Op,
    position: np.ndarray,
    columns: np.ndarray | None,
    size: tuple[int, int],
    sources: Sequence[Source],
) -> tuple[Operand, ...] | None:
    """The operands of ``op`` for these features alone."""
    if op.kind in (*PRODUCTS, "lookup") and columns is not None:
        *tensors, weight = op.inputs
        assert isinstance(weight, Constant)
        kept = context.constants[weight.name][..., columns]
        return *tensors, context.add_constant(_name(weight, columns), kept)
    if op.kind not in (*_BINARY, *_UNARY):
        return None
    found = [_operand(context, x, op.output, position, size, sources) for x in op.inputs]
    return None if None in found else tuple(x for x in found if x is not None)


def _operand(
    context: "Context",
    x: Operand,
    output: Tensor,
    position: np.ndarray,
    size: tuple[int, int],
    sources: Sequence[Source],
) -> Operand | None:
    if isinstance(x, Scalar):
        return x
    if isinstance(x, Constant):
        values = np.broadcast_to(context.constants[x.name], (output.groups, output.width))
        kept = values.reshape(-1)[position].reshape(size)
        return context.add_constant(_name(x, position), kept)
    if isinstance(x, Tensor) and x.size == output.size:
        chosen = select(context, x, position, sources)
        return chosen and context.view(chosen, size, chosen.name, sources)
    return None  # broadcast, or by position: it may differ between the groups


def _name(constant: Constant, position: np.ndarray) -> str:
    return f"{constant.name}[{position[0]}…{position[-1]}]"
