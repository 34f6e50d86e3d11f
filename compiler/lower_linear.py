"""Lowering of products with constant weights: streamed in blocks, double-buffered by
prefetching."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import lcm

import numpy as np

from compiler import weights as w
from compiler.allocate import DoesNotFit
from compiler.builder import Make, round_up
from compiler.deferred import Deferred
from compiler.graph import Constant, Op, Tensor
from compiler.layout import Layout, physical_weights
from compiler.lower_activations import entering, has_static_scale, static_factor
from compiler.lower_outputs import store_rows
from compiler.lowering import Entering, Lowering, Vectors
from compiler.matrix_source import Block, Matrix
from compiler.storage import AUTO, KINDS
from compiler.virtual import LONGEST_ROW, Access, Buffer, FieldValue
from isa.config import F32_BYTES
from isa.formats import FORMATS
from isa.program import Reg

_FIRST_BLOCKS = 4  # at least, of a pass's first product: it begins when the first of them is there


@dataclass(frozen=True)
class Term:
    """A product with a matrix (K, N), of one or more tensors' rows, which are added up."""

    matrix: Matrix
    rows: tuple[Entering, ...]


def lower_linear(low: Lowering, op: Op) -> None:
    """x W, block by block: load, matmul (accumulating over K), then fp32 rows from the
    accumulators."""
    x, name, *_ = op.inputs
    assert isinstance(x, Tensor)
    assert isinstance(name, Constant)
    whole = _whole(low, op, name.name)
    starts = (op.attributes.get(part, (0, 0))[0] for part in ("rows", "cols"))
    matrix = replace(whole, shape=(x.width, op.output.width), at=tuple(starts))
    term = Term(matrix, (entering(low, op, x, x.groups),))
    multiply(low, op, [term], x.groups, low.storage.weights.of(op))


def _whole(low: Lowering, op: Op, name: str) -> Matrix:
    """A constant as a matrix; one for all products with parts of it."""
    if name not in low.wholes:
        weights = low.graph.constants[name]

        def make(layer: int) -> np.ndarray:
            values = np.asarray(low.constant(name, layer), np.float32)
            if not np.isfinite(values).all():
                raise low.refuse(op, f"weights that are not finite in {name}")
            return values

        if not isinstance(weights, Deferred):
            make(0)
        rows, cols = weights.shape
        low.wholes[name] = Matrix(name, (rows, cols), make)
    return low.wholes[name]


def multiply(low: Lowering, op: Op, terms: Sequence[Term], groups: int, kind: str = "bf16") -> None:
    """The sum of all terms, of the operator's inputs in order; ``kind``: of `storage.KINDS`."""
    padded = []
    for x, term in zip(op.inputs, terms, strict=False):
        assert isinstance(x, Tensor)
        layout, matrix = low.layouts[x.name], term.matrix
        if groups > 1 and (layout.row_bytes(groups, x.width) is None):
            raise low.refuse(op, f"rows of {x.width} elements of {x.name} have gaps")
        if groups == 1:
            matrix = _physical(matrix, layout, low.layouts[op.output.name])
        padded.append(replace(term, matrix=matrix))
    if kind == AUTO:
        (only,) = padded
        found = {w.narrowest(only.matrix.make(layer)) for layer in range(low.copies)}
        kind = found.pop() if len(found) == 1 else "bf16"
    longest = max(term.matrix.shape[0] for term in padded)
    cols = padded[0].matrix.shape[1]
    k_step, n_step = block_shape(low, op, (longest, cols), groups, KINDS[kind])
    if low.builder.begins:
        n_step = min(n_step, round_up(-(-cols // _FIRST_BLOCKS), _column_unit(low, op)))
        low.builder.begins = False
    for n0 in range(0, cols, n_step):
        columns = slice(n0, min(n0 + n_step, cols))
        acc, first = low.builder.accumulators(), True
        for term in padded:
            for k0 in range(0, term.matrix.shape[0], k_step):
                block = low.matrices.block(term.matrix, kind, slice(k0, k0 + k_step), columns)
                weights = low.builder.load("weights", block.source)
                for acts in term.rows:
                    rows = low.builder.rows(groups)
                    given = acts, acts.at(k0), acts.stride
                    multiply_block(low, (block, weights), given, acc, rows, first)
                    first = False
        factors, count = None, columns.stop - n0
        if scales := _column_factors(low, op, padded[0].matrix, kind, columns):
            matrix = padded[0].matrix
            factors = low.later_row(f"scales of {matrix.name}[{matrix.at[1] + n0}:]", count, scales)
        product = Product(acc, n0, count, factors, padded[0].rows[0].scales)
        drain(low, op, product, groups)


def _column_factors(
    low: Lowering, op: Op, matrix: Matrix, kind: str, columns: slice
) -> Make | None:
    """What columns of the product are multiplied by: the weights' scales, static ones of codes."""
    scales = low.matrices.column_scales(matrix, kind, columns)
    if not has_static_scale(op):
        return scales

    def make(layer: int) -> np.ndarray:
        count = columns.stop - columns.start
        of_columns = scales(layer) if scales else np.ones(count, np.float32)
        return of_columns * static_factor(low, op, layer)

    return make


def _physical(matrix: Matrix, rows: Layout, cols: Layout) -> Matrix:
    """With zero rows and columns where the layouts have gaps."""
    if rows.dense and cols.dense:
        return matrix

    (k0, n0), (k, n) = matrix.at, matrix.shape

    def make(layer: int) -> np.ndarray:
        part = matrix.make(layer)[k0 : k0 + k, n0 : n0 + n]
        return physical_weights(part, rows, cols)

    return Matrix(matrix.name, (rows.length(k), cols.length(n)), make)


def block_shape(
    low: Lowering, op: Op, shape: tuple[int, ...], groups: int, kind: str
) -> tuple[int, int]:
    """Rows and columns of a block: bounded by the weight buffers and half the accumulators."""
    config, entry = low.config, FORMATS[kind]
    unit = lcm(config.rows, entry.block or 1)
    budget = min(config.sram_bytes // 16, LONGEST_ROW + 1 - config.line_bytes)
    if entry.block:  # two parts of a panel fill up lines
        budget -= 2 * config.line_bytes
        budget = budget * entry.block // (entry.bytes_of(entry.block) + entry.scale_bytes)
    else:
        budget //= entry.bytes_of(1)
    k_step = max(unit, budget // config.cols // unit * unit)
    k_step = min(k_step, round_up(shape[0], unit))
    m = low.builder.chunk * groups
    panels = min(budget // (k_step * config.cols), config.acc_rows // 2 // m)
    unit = _column_unit(low, op)
    most = panels * config.cols // unit * unit
    if most < 1:
        raise DoesNotFit
    blocks = -(-shape[1] // most)
    return k_step, round_up(-(-shape[1] // blocks), unit)


def _column_unit(low: Lowering, op: Op) -> int:
    """Whose multiples blocks begin at: whole panels, and where they are stored whole HBM rows."""
    stored = op.output.name in low.outputs and stores_itself(op)
    return max(low.config.cols, low.config.hbm_alignment_bytes // F32_BYTES if stored else 0)


def multiply_block(
    low: Lowering,
    weights: tuple[Block, Buffer],
    acts: tuple[Entering, FieldValue, int],
    acc: Buffer,
    rows: Reg | int,
    first: bool,
) -> None:
    """acc (+)= acts · weights, in SRAM; acts: what is read, its first row, the distance of rows."""
    block, buffer = weights
    fields: dict[str, FieldValue] = {
        "acc": acc.at(),
        "a": acts[1],
        "astride": acts[2],
        "w": buffer.at(),
        "wstride": block.packed.stride,
        "wpanel": block.packed.panel,
        "m": rows,
        "k": block.rows,
        "n": block.cols,
        "mode": "overwrite" if first else "accumulate",
        "af": acts[0].format,
        "wf": block.format,
    }
    reads = (acts[0].buffer.access(), buffer.access(), *(() if first else (acc.access(),)))
    low.builder.emit("matmul", reads, (acc.access(),), fields=fields)


def stores_itself(op: Op) -> bool:
    """Whether an output goes to HBM block by block: logits are more than the SRAM holds."""
    return op.kind == "linear" and op.output.groups == 1


@dataclass(frozen=True)
class Product:
    """Columns [n0, n0 + cols) of a product in the accumulators; ``factors``: of the columns,
    ``scales``: of the rows."""

    acc: Buffer
    n0: int
    cols: int
    factors: Buffer | None
    scales: Vectors | None = None

    @property
    def later(self) -> Vectors | None:
        """What is left to multiply the rows by behind `source`."""
        return self.scales if self.factors else None

    def source(self, rows: Reg) -> tuple[str, tuple[Access, ...], dict[str, FieldValue]]:
        """The instruction that takes them from there: mnemonic, what it reads, fields."""
        fields: dict[str, FieldValue] = {
            "a": self.acc.at(),
            "astride": rows,
            "at": "acc",
            "rows": rows,
            "cols": self.cols,
        }
        if self.factors is None:
            if self.scales is None:
                return "vmov", (self.acc.access(),), fields
            rows_of = self.scales.buffer
            fields |= {"b": rows_of.at(self.scales.offset), "bstride": self.scales.stride}
            return "vmul", (self.acc.access(), rows_of.access()), fields | {"bt": "col"}
        fields |= {"b": self.factors.at(), "bstride": 0}
        return "vmul", (self.acc.access(), self.factors.access()), fields


def drain(low: Lowering, op: Op, product: Product, groups: int) -> None:
    """The product to where the operator's output is, or goes."""
    mnemonic, reads, fields = product.source(low.builder.rows(groups))
    if op.output.name in low.outputs and stores_itself(op):
        store_rows(low, op.output, (mnemonic, reads, fields), product.n0, product.later)
        if op.output.name not in low.read:
            return
    total = op.inputs[2] if "plus" in op.attributes else None
    if isinstance(total, Tensor):
        low.overwrite(op, total)
    placed = low.place(op.output)
    stride = placed.layout.row_bytes(groups, op.output.width) or placed.layout.token_bytes
    target = out = Vectors(placed.buffer, F32_BYTES * product.n0, stride)
    term = replace(out, buffer=low.place(total).buffer) if isinstance(total, Tensor) else None
    if term and mnemonic == "vmov":
        mnemonic, reads = "vadd", (*reads, term.buffer.access())
        fields |= {"b": term.buffer.at(term.offset), "bstride": stride}
    elif term:
        pitch = F32_BYTES * round_up(product.cols, low.config.lanes)
        room = low.builder.sram("term of a sum", low.builder.chunk * groups * pitch)
        target = Vectors(room, 0, pitch)
    fields |= {"dst": target.buffer.at(target.offset), "dstride": target.stride}
    low.builder.emit(mnemonic, reads, (target.buffer.access(),), fields=fields)
    if product.later:
        low.by_rows("vmul", target, target, product.cols, product.later, groups)
    if term and target != out:
        low.by_rows("vadd", out, target, product.cols, term, groups)
