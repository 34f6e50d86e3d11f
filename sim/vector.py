"""Vector unit of the functional simulator."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from isa import formats, numbers, special
from isa.numbers import F32
from sim.scalar import Command
from sim.state import State

Source = Callable[[], F32]  # values of an operand, canonical, or to be made so by the operation
_UNARY = {
    "vmov": numbers.canonical,
    "vabs": lambda a: np.abs(numbers.canonical(a)),
    "vexp2": special.exp2,
    "vrecip": special.recip,
    "vrsqrt": special.rsqrt,
}
_BINARY = {
    "vadd": numbers.add,
    "vsub": numbers.sub,
    "vmul": numbers.mul,
    "vmax": numbers.maximum,
    "vmin": numbers.minimum,
}
_REDUCE = {"vsum": numbers.row_sum, "vrmax": numbers.row_max}


class _Fields(NamedTuple):
    """Fields of the vector format, in its order."""

    dst: int
    dstride: int
    a: int
    astride: int
    b: int
    bstride: int
    rep: int
    rows: int
    cols: int
    dt: str
    at: str
    bt: str


def plan_vector(state: State, command: Command) -> tuple[Callable[[], None], int]:
    """What an instruction of the vector unit does, and the vectors it processes."""
    fields = _Fields(*command.fields)
    compute, width = _operation(state, command.mnemonic, fields)
    write = _writer(state, fields, width)
    vectors = fields.rows * -(-fields.cols // state.config.lanes)
    return lambda: write(compute()), vectors


def _operation(state: State, mnemonic: str, fields: _Fields) -> tuple[Source, int]:
    """The values of the result's rows, and how many a row has."""
    cols, lanes = fields.cols, state.config.lanes
    a = _first(state, fields)
    if mnemonic in _UNARY:
        function = _UNARY[mnemonic]
        return lambda: function(a()), cols
    if mnemonic in _BINARY:
        combine, b = _BINARY[mnemonic], _second(state, fields)
        return lambda: combine(a(), b()), cols
    if mnemonic in _REDUCE:
        reduce = _REDUCE[mnemonic]
        return lambda: reduce(a(), lanes)[:, None], 1
    if mnemonic == "vargmax":
        return lambda: numbers.row_argmax(a())[:, None].view(np.float32), 1
    if mnemonic == "vrot":
        return lambda: np.roll(numbers.canonical(a()), -fields.rep, axis=1), cols
    return _mask(fields, a, mnemonic), cols


def _mask(fields: _Fields, a: Source, mnemonic: str) -> Source:
    index, rows = np.arange(fields.cols)[None, :], np.arange(fields.rows)[:, None]
    if mnemonic == "vmask":
        keep = index < fields.rep + rows
    else:  # the limit is signed
        keep = index >= (fields.rep ^ 0x8000) - 0x8000 + rows
    other = _float(fields.b)
    return lambda: np.where(keep, numbers.canonical(a()), other)


def _float(bits: int) -> F32:
    return numbers.canonical(np.array([[bits]], np.uint32).view(np.float32))


def _read(state: State, dtype: str, place: tuple[int, int], shape: tuple[int, int]) -> Source:
    """Rows of SRAM as fp32 values."""
    view = state.rows(dtype, *place, shape)
    if dtype == "f32":
        return lambda: view
    if dtype == "bf16":
        return lambda: numbers.widen(view)
    return lambda: formats.decode(dtype, view)


def _first(state: State, fields: _Fields) -> Source:
    rows, cols = fields.rows, fields.cols
    if fields.at != "acc":
        return _read(state, fields.at, (fields.a, fields.astride), (rows, cols))
    panels = -(-cols // state.config.cols)
    shape = (rows, panels, state.config.cols)
    view = state.accumulators(fields.a, fields.astride, shape)
    if state.config.element == "int8":
        return lambda: numbers.from_int32(view.reshape(rows, -1)[:, :cols])
    return lambda: view.reshape(rows, -1)[:, :cols]


def _second(state: State, fields: _Fields) -> Source:
    """The second operand, of a shape that broadcasts against (rows, cols)."""
    if fields.bt == "scalar":
        value = _float(fields.b)
        return lambda: value
    rep = max(fields.rep, 1)
    rows = 1 if fields.bstride == 0 else -(-fields.rows // rep)
    dtype, cols = ("f32", 1) if fields.bt == "col" else (fields.bt, fields.cols)
    read = _read(state, dtype, (fields.b, fields.bstride), (rows, cols))
    if rows == 1 or rep == 1:
        return read
    index = np.arange(fields.rows) // rep
    return lambda: read()[index]


def _writer(state: State, fields: _Fields, width: int) -> Callable[[F32], None]:
    """Stores ``width`` values a row, and zeros up to a whole vector."""
    lanes = state.config.lanes
    padded = -(-width // lanes) * lanes
    rows = state.rows(fields.dt, fields.dst, fields.dstride, (fields.rows, padded))
    values, rest = rows[:, :width], rows[:, width:]

    def write(result: F32) -> None:
        if fields.dt == "f32":
            values[...] = result
        elif fields.dt == "bf16":
            values[...] = numbers.to_bf16(result)
        else:
            values[...] = formats.quantise(fields.dt, result)
        if padded != width:
            rest[...] = 0

    return write
