"""Symbolic axes of a model's inputs: what --bind and --max say about them."""

from collections.abc import Iterable, Mapping

import onnx

from compiler.errors import CompileError
from compiler.importer_interface import IDS, PAST

# Which length an axis of an input is: (input's kind, axis) → role.
_ROLES = {
    ("ids", 0): "batch", ("ids", 1): "new",
    ("attention_mask", 0): "batch", ("attention_mask", 1): "total",
    ("past", 0): "batch", ("past", 2): "past",
}  # fmt: skip


def symbolic_axes(model: onnx.ModelProto) -> dict[str, str]:
    """Name → role: "batch", or a number of tokens: "new", "past", "total"."""
    found: dict[str, str] = {}
    for value in model.graph.input:
        kind = "ids" if value.name in (*IDS, "position_ids") else value.name
        kind = "past" if PAST.match(value.name) else kind
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_param and (kind, axis) in _ROLES:
                found.setdefault(dim.dim_param, _ROLES[kind, axis])
    return found


def parse_axes(option: str, texts: Iterable[str]) -> dict[str, int]:
    """ "AXIS=N" as names and numbers; ValueError says what is wrong."""
    found = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        if not name or not number.isdecimal():
            raise ValueError(f"{option} {text}: want AXIS=N, N a number")
        found[name.strip()] = int(number)
    return found


def context_for(
    model: onnx.ModelProto, source: str, limits: Mapping[str, int], max_context: int | None
) -> int | None:
    """The context that serves all axes up to their ``limits`` and no more than ``max_context``.

    A program serves every number of new and past tokens whose sum is in its context, so a length
    that is bound is one that is bounded. The batch is 1. CompileError for axes that the model does
    not have.
    """
    axes = symbolic_axes(model)
    contexts = [max_context] if max_context else []
    for name, limit in limits.items():
        if name not in axes:
            known = ", ".join(f"{axis} ({role})" for axis, role in axes.items())
            raise CompileError(source, f"no axis is named {name!r}", f"it has {known or 'none'}")
        if axes[name] == "batch" and limit != 1:
            problem = f"{limit} sequences along {name!r}: a program takes one"
            raise CompileError(source, problem, "run it once for each")
        if axes[name] != "batch":
            needed = limit + (axes[name] == "past")  # one new token at least
            if needed < 1:
                raise CompileError(source, f"{name!r} must be at least 1, not {limit}")
            contexts.append(needed)
    return min(contexts, default=None)
