"""Lowering of element-wise operators, reductions, rotations and views to vector instructions."""

from math import prod

import numpy as np

from compiler.graph import Constant, Op, Operand, Scalar, Table, Tensor
from compiler.lowering import Lowering, Rows
from compiler.numerics import LOG2_E, ROUNDING, float_bits
from compiler.virtual import FieldValue

COMMUTATIVE = {"add": "vadd", "mul": "vmul", "max": "vmax", "min": "vmin"}
BINARY = COMMUTATIVE | {"sub": "vsub"}
REDUCTIONS = {"reduce_sum": "vsum", "reduce_max": "vrmax"}

_SIGMOID = (("vexp2", None), ("vadd", 1.0), ("vrecip", None))  # of x = -log2 e times the argument
UNARY: dict[str, tuple[tuple[str, float | None], ...]] = {
    # Steps one after another, in place in the output: mnemonic and scalar operand.
    "exp": (("vmul", LOG2_E), ("vexp2", None)),
    "sigmoid": (("vmul", -LOG2_E), *_SIGMOID),
    "tanh": (("vmul", -2 * LOG2_E), *_SIGMOID, ("vmul", 2.0), ("vsub", 1.0)),
    "recip": (("vrecip", None),),
    "rsqrt": (("vrsqrt", None),),
    "sqrt": (("vrsqrt", None), ("vrecip", None)),  # right at 0 and infinity too
}


def lower_binary(low: Lowering, op: Op) -> None:
    """a ∘ b with b a tensor, constant, scalar or position table; sizes of 1 broadcast."""
    a, other = op.inputs
    full = (op.output.groups, op.output.width)
    if not isinstance(a, Tensor) or (a.groups, a.width) != full:
        if op.kind not in COMMUTATIVE:
            raise low.refuse(op, f"{op.kind} whose first operand is broadcast")
        a, other = other, a
    if not isinstance(a, Tensor) or (a.groups, a.width) != full:
        raise low.refuse(op, "both operands are broadcast")
    if not low.overwrite(op, a) and _has_room(low, op, other):
        assert isinstance(other, Tensor)
        a, other = other, a
    if isinstance(other, Scalar):
        _with_scalar(low, op, a, other.value)
    elif isinstance(other, Tensor):
        _with_tensor(low, op, a, other)
    elif isinstance(other, Table):
        _with_table(low, op, a, other)
    else:
        _with_constant(low, op, a, other)


def _has_room(low: Lowering, op: Op, other: Operand) -> bool:
    """Whether the output lies where the second operand did, which must then become the first."""
    full = (op.output.groups, op.output.width)
    if op.kind not in ("add", "mul") or not isinstance(other, Tensor):
        return False
    return (other.groups, other.width) == full and low.overwrite(op, other)


def _with_scalar(low: Lowering, op: Op, a: Tensor, value: float) -> None:
    rows = low.flat_rows(op, a)
    fields: dict[str, FieldValue] = {"b": float_bits(value), "bt": "scalar"}
    low.vector(BINARY[op.kind], (op.output, rows), (a, rows), fields=fields)


def _with_tensor(low: Lowering, op: Op, a: Tensor, other: Tensor) -> None:
    second = low.place(other).buffer
    fields: dict[str, FieldValue] = {"b": second.at()}
    if (other.groups, other.width) == (a.groups, a.width):
        rows = low.flat_rows(op, a)
        if low.flat_rows(op, other) != rows:
            raise low.refuse(op, "operands are laid out differently")
        fields |= {"bstride": rows.stride}
    elif other.width == 1 and other.groups in (1, a.groups):
        alone = other.groups == 1  # one number a token, however its others are cut into rows
        rows = low.flat_rows(op, a) if alone else low.rows_of(op, a, a.groups, a.width)
        rep = rows.multiple if alone else 1
        fields |= {"bt": "col", "bstride": low.config.f32_vector_bytes, "rep": rep}
    elif other.groups == 1 and other.width == a.width:
        rows = low.rows_of(op, a, a.groups, a.width)
        stride = low.rows_of(op, other, 1, other.width).stride
        fields |= {"bstride": stride, "rep": a.groups}
    else:
        shapes = f"{other.groups}×{other.width} to {a.groups}×{a.width}"
        raise low.refuse(op, f"broadcast of {shapes}")
    low.vector(BINARY[op.kind], (op.output, rows), (a, rows), (second.access(),), fields)


def _with_table(low: Lowering, op: Op, a: Tensor, table: Table) -> None:
    assert low.tables is not None
    rows = low.rows_of(op, a, a.groups, a.width)
    fields: dict[str, FieldValue] = {
        "b": low.tables.rows.at(low.tables.offset[table.name]),
        "bstride": low.tables.row_bytes,
        "rep": a.groups,
    }
    if low.graph.tables[table.name].shape[1] < a.width:  # one number for all features
        fields["bt"] = "col"
    reads = (low.tables.rows.access(),)
    low.vector(BINARY[op.kind], (op.output, rows), (a, rows), reads, fields)


def _with_constant(low: Lowering, op: Op, a: Tensor, constant: object) -> None:
    assert isinstance(constant, Constant)
    shape, layout = low.graph.constants[constant.name].shape, low.place(a).layout
    if prod(shape) == 1:
        value = np.asarray(low.constant(constant.name, 0))
        _with_scalar(low, op, a, float(value.reshape(())))
        return
    one_row = shape[-1] == a.width == prod(shape)
    if one_row and layout.row_bytes(a.groups, a.width) is not None:
        rows, count = low.rows_of(op, a, a.groups, a.width), a.width
    else:  # a token's numbers in one row, gaps and all
        one_row, count = False, layout.length(a.size)
        rows = Rows(1, count, layout.token_bytes)

    def make(layer: int) -> np.ndarray:
        values = np.asarray(low.constant(constant.name, layer), np.float32)
        if one_row:
            return values
        full = np.zeros(count, np.float32)
        values = values.reshape((-1, values.shape[-1]))
        places = layout.place(np.arange(a.size))
        full[places] = np.broadcast_to(values, (a.groups, a.width)).reshape(-1)
        return full

    row = low.later_row(constant.name, count, make)
    fields: dict[str, FieldValue] = {"b": row.at(), "bstride": 0}
    low.vector(BINARY[op.kind], (op.output, rows), (a, rows), (row.access(),), fields)


def lower_unary(low: Lowering, op: Op) -> None:
    """The steps of ``UNARY``."""
    source = op.inputs[0]
    assert isinstance(source, Tensor)
    low.overwrite(op, source)
    rows = low.flat_rows(op, source)
    for mnemonic, value in UNARY[op.kind]:
        fields: dict[str, FieldValue] = {}
        if value is not None:
            fields = {"b": float_bits(value), "bt": "scalar"}
        low.vector(mnemonic, (op.output, rows), (source, rows), fields=fields)
        source = op.output


def lower_round(low: Lowering, op: Op) -> None:
    """To multiples of a unit."""
    source, shift = op.inputs[0], float_bits(ROUNDING * op.attributes["unit"])
    assert isinstance(source, Tensor)
    rows = low.flat_rows(op, source)
    for mnemonic, x in (("vadd", source), ("vsub", op.output)):
        fields: dict[str, FieldValue] = {"b": shift, "bt": "scalar"}
        low.vector(mnemonic, (op.output, rows), (x, rows), fields=fields)


def lower_reduce(low: Lowering, op: Op) -> None:
    """Sums or maxima of rows: one vector a row, the value in lane 0."""
    source = op.inputs[0]
    assert isinstance(source, Tensor)
    rows = low.rows_of(op, source, source.groups, source.width)
    out = low.rows_of(op, op.output, source.groups, 1)
    low.vector(REDUCTIONS[op.kind], (op.output, out), (source, rows))


def lower_rotate(low: Lowering, op: Op) -> None:
    """vrot, then the signs unless they were folded into a table."""
    source, shift = op.inputs[0], int(op.attributes["shift"])
    assert isinstance(source, Tensor)
    lanes = low.config.lanes
    if source.width > lanes and (source.width % lanes or shift % lanes):
        problem = f"rotation of rows of {source.width} by {shift}"
        raise low.refuse(op, problem, f"multiples of {lanes} lanes work")
    rows = low.rows_of(op, source, source.groups, source.width)
    low.vector("vrot", (op.output, rows), (source, rows), fields={"rep": shift})
    signs = np.array(op.attributes["signs"], np.float32)
    if np.any(signs != 1):
        row = low.constant_row(f"signs of {op.output.name}", signs)
        fields: dict[str, FieldValue] = {"b": row.at(), "bstride": 0}
        low.vector("vmul", (op.output, rows), (op.output, rows), (row.access(),), fields)
