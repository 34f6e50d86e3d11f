"""Matrix unit of the functional simulator."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from isa import numbers
from sim.scalar import Command
from sim.state import State, want_multiple, want_positive

Weights = Callable[[], NDArray[np.uint16]]


def plan_matmul(state: State, command: Command) -> tuple[Callable[[], None], int]:
    """The product that a `matmul` computes, and the activation rows that enter the array."""
    acc, a, astride, w, wstride, wpanel, m, k, n, mode, layout = command.fields
    rows, cols = state.config.rows, state.config.cols
    want_positive(m=m, k=k, n=n)
    want_multiple("a", a, 2 * rows)
    want_multiple("astride", astride, 2 * rows)
    tiles, panels = -(-k // rows), -(-n // cols)
    if layout == "normal":
        weights = _normal(state, w, wstride, wpanel, (k, n))
    else:
        weights = _transposed(state, w, wstride, (k, n))
    activations = state.rows("a", "bf16", a, astride, (m, tiles * rows))[:, :k]
    # Row acc + j m + i is (i, j): contiguous panels of m rows.
    target = state.accumulators(acc, m, (m, panels, cols))
    accumulate = mode == "accumulate"

    def run() -> None:
        previous = target.reshape(m, panels * cols) if accumulate else None
        result = numbers.matmul_bf16(activations, weights(), rows, previous)
        target[...] = result.reshape(m, panels, cols)

    return run, m * tiles * panels


def _normal(state: State, w: int, wstride: int, wpanel: int, shape: tuple[int, int]) -> Weights:
    """Weights stored row by row along N, in panels of C columns; (K, panels * C), 0 from N on."""
    (k, n), cols = shape, state.config.cols
    panels = -(-n // cols)
    for name, value in (("w", w), ("wstride", wstride), ("wpanel", wpanel)):
        want_multiple(name, value, 2 * cols)
    if panels == 1:
        wpanel = 0
    stored = state.blocks("w", "bf16", w, (wpanel, wstride), (panels, k, cols)).transpose(1, 0, 2)

    def read() -> NDArray[np.uint16]:
        weights = stored.reshape(k, panels * cols)
        if n % cols:
            weights = weights.copy()  # reshape gives a view of the SRAM where it can
            weights[:, n:] = 0
        return weights

    return read


def _transposed(state: State, w: int, wstride: int, shape: tuple[int, int]) -> Weights:
    """Weights stored as rows along K, one for each column of the result; as (K, panels * C)."""
    (k, n), rows, cols = shape, state.config.rows, state.config.cols
    for name, value in (("w", w), ("wstride", wstride)):
        want_multiple(name, value, 2 * rows)
    stored = state.rows("w", "bf16", w, wstride, (n, -(-k // rows) * rows))[:, :k].T

    def read() -> NDArray[np.uint16]:
        weights = np.zeros((k, -(-n // cols) * cols), np.uint16)
        weights[:, :n] = stored
        return weights

    return read
