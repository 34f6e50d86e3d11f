"""How many tokens a graph takes, and, where that is fixed, which axis is theirs."""

from bisect import bisect_left
from typing import TYPE_CHECKING

import numpy as np

from compiler.errors import CompileError
from compiler.evaluate import Evaluator
from compiler.evaluate_sample import Sample
from compiler.graph import Tensor
from compiler.movement import Moved

if TYPE_CHECKING:
    from compiler.canonical_context import Context

DEFAULT_CONTEXT = 512


def _own_context(evaluator: Evaluator) -> int:
    """The most tokens, up to DEFAULT_CONTEXT, for which masks and positions can be evaluated:
    learned positions have a row for so many."""

    def works(count: int) -> bool:
        try:
            evaluator.run(Sample(count, 0))
        except CompileError:
            return False
        return True

    if works(DEFAULT_CONTEXT):
        return DEFAULT_CONTEXT
    return max(1, bisect_left(range(DEFAULT_CONTEXT), True, key=lambda n: not works(n + 1)))


def context_of(evaluator: Evaluator, max_context: int | None) -> int:
    """The tokens that one run may have."""
    tokens = evaluator.interface.tokens
    if max_context is not None and max_context < tokens:
        raise CompileError("--max-context", f"it must be {tokens}, as many as tokens, or nothing")
    return tokens or max_context or _own_context(evaluator)


def token_axis(context: "Context", name: str, tokens: int) -> int | None:
    """Which of the axes that are as long as there are tokens is theirs, if that is fixed: that
    along which elements come from one token after another, or that of the node's inputs."""
    shape, value = context.shapes(name)[0], context.values.get(name)
    axes = [axis for axis, size in enumerate(shape) if size == tokens]
    if len(axes) == 1:
        return axes[0]
    if isinstance(value, Moved) and value.index is None:
        return value.token_axis
    if isinstance(value, Moved) and isinstance(value.root, Tensor):
        token = (np.abs(value.indices()[0]) - 1) // value.root.size
        for axis in axes:
            each = np.moveaxis(token, axis, 0).reshape(tokens, -1)
            if (each == np.arange(tokens)[:, None]).all():
                return axis
    elif value is not None:  # scores and weights: (heads, tokens, keys)
        return len(shape) - 2
    else:
        made = context.evaluator.producer[name]
        for source in made.input:
            if source and not context.is_known(source) and source in context.values:
                axis = context.layout(source, made).token_axis
                axis += len(shape) - len(context.shapes(source)[0])
                if axis in axes:
                    return axis
    return None
