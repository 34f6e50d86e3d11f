"""Matrix unit of the functional simulator."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from isa import formats, numbers
from isa.formats import FORMATS
from sim.scalar import Command
from sim.state import State

Values = Callable[[], NDArray]  # what a run reads: uint16 (bf16 bits), of int8 arrays int8


class _Fields(NamedTuple):
    """Fields of the matrix format, in its order."""

    acc: int
    a: int
    astride: int
    w: int
    wstride: int
    wpanel: int
    m: int
    k: int
    n: int
    mode: str
    layout: str
    af: str
    wf: str


def plan_matmul(state: State, command: Command) -> tuple[Callable[[], None], int]:
    """The product that a `matmul` computes, and the activation rows that enter the array."""
    f = _Fields(*command.fields)
    rows, cols = state.config.rows, state.config.cols
    tiles, panels = -(-f.k // rows), -(-f.n // cols)
    activations = _activations(state, f, tiles * rows)
    weights = _normal(state, f) if f.layout == "normal" else _transposed(state, f)
    # Row acc + j m + i is (i, j): contiguous panels of m rows.
    target = state.accumulators(f.acc, f.m, (f.m, panels, cols))
    accumulate = f.mode == "accumulate"
    whole = state.config.element == "int8"

    def run() -> None:
        previous = target.reshape(f.m, panels * cols) if accumulate else None
        if whole:
            result: NDArray = numbers.matmul_int8(activations(), weights(), previous)
        else:
            result = numbers.matmul_bf16(activations(), weights(), rows, previous)
        target[...] = result.reshape(f.m, panels, cols)

    return run, f.m * tiles * panels


def _activations(state: State, f: _Fields, width: int) -> Values:
    """(M, K); whole rows of the array are read, K elements used."""
    view = state.rows(f.af, f.a, f.astride, (f.m, width))[:, : f.k]
    return _values(state, f.af, lambda: view)


def _values(state: State, name: str, codes: Values, scales: Values | None = None) -> Values:
    """Codes as the array takes them."""
    if name == "bf16":
        return codes
    if state.config.element == "int8":
        return lambda: codes().view(np.int8)
    return lambda: formats.expand(name, codes(), scales() if scales else None)


def _normal(state: State, f: _Fields) -> Values:
    """Weights stored row by row along N, in panels of C columns; (K, panels * C), 0 from N on."""
    cols, entry = state.config.cols, FORMATS[f.wf]
    panels = -(-f.n // cols)
    width = cols if entry.bits > 4 else entry.bytes_of(cols)
    place = f.w + _header(state, f)
    stored = state.blocks(f.wf, place, (f.wpanel, f.wstride), (panels, f.k, width))

    def codes() -> NDArray:
        by_row = stored.transpose(1, 0, 2)
        if entry.bits == 4:
            by_row = formats.unpack(f.wf, by_row, cols)
        return by_row.reshape(f.k, panels * cols)

    return _limited(f, _values(state, f.wf, codes, _scales(state, f, panels)))


def _transposed(state: State, f: _Fields) -> Values:
    """Weights stored as rows along K, one for each column of the result; as (K, panels * C)."""
    cols, entry = state.config.cols, FORMATS[f.wf]
    panels, place = -(-f.n // cols), f.w + _header(state, f)
    width = f.k if entry.bits > 4 else -(-f.k // 2)
    stored = [
        state.rows(f.wf, place + j * f.wpanel, f.wstride, (min(cols, f.n - j * cols), width))
        for j in range(panels)
    ]

    def codes() -> NDArray:
        kind = np.uint16 if entry.bits == 16 else np.uint8
        by_col = np.zeros((panels * cols, f.k), kind)
        for j, rows in enumerate(stored):
            by_col[j * cols : j * cols + len(rows)] = formats.unpack(f.wf, rows, f.k)
        return by_col.T

    return _limited(f, _values(state, f.wf, codes, _scales(state, f, panels)))


def _limited(f: _Fields, weights: Values) -> Values:
    """Columns from N on are +0."""

    def read() -> NDArray:
        values = weights()
        if f.n == values.shape[1]:
            return values
        values = values.copy()  # it may be a view of the SRAM
        values[:, f.n :] = 0
        return values

    return read


def _header(state: State, f: _Fields) -> int:
    """Bytes of a panel's scales, filled up to a line."""
    entry, line = FORMATS[f.wf], state.config.line_bytes
    if not entry.block:
        return 0
    return -(-(-(-f.k // entry.block) * state.config.cols * entry.scale_bytes) // line) * line


def _scales(state: State, f: _Fields, panels: int) -> Values | None:
    """Scale codes of a block format: (blocks of K, panels * C)."""
    entry, cols = FORMATS[f.wf], state.config.cols
    if not entry.block:
        return None
    blocks = -(-f.k // entry.block)
    kind = "bf16" if entry.scale == "bf16" else "byte"
    strides = (f.wpanel, cols * entry.scale_bytes)
    stored = state.blocks(kind, f.w, strides, (panels, blocks, cols))
    return lambda: stored.transpose(1, 0, 2).reshape(blocks, panels * cols)
