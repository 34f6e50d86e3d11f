"""Lowering: the state that the handlers of operators share, and what all of them need."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from compiler import builder as b
from compiler.builder import Builder, Make, round_up
from compiler.deferred import Array
from compiler.errors import CompileError
from compiler.graph import Graph, Op, Tensor
from compiler.layout import Layout, Placed
from compiler.matrix_source import Matrix, MatrixSource
from compiler.numerics import float_bits
from compiler.rooms import Reads
from compiler.storage import IN_BF16, Storage
from compiler.virtual import LONGEST_ROW, Access, Address, Buffer, FieldValue
from isa.config import F32_BYTES, ChipConfig
from isa.formats import FORMATS, StorageFormat

MOST_NAMED = 3  # nodes that one operator is described by


@dataclass(frozen=True)
class Rows:
    """A tensor seen as ``multiple`` · m even rows of ``cols`` elements, ``stride`` bytes apart."""

    multiple: int
    cols: int
    stride: int


@dataclass(frozen=True)
class Entering:
    """Rows in SRAM as they enter the array: (m · groups, K) in the ISA's ``format``, ``stride``
    bytes apart. ``scales``: what a product's rows are multiplied by, one number each."""

    buffer: Buffer
    stride: int
    format: str = "bf16"
    scales: "Vectors | None" = None

    def at(self, element: int, row: int = 0) -> Address:
        """An element of a row of the first token."""
        return self.buffer.at(FORMATS[self.format].bytes_of(element) + row * self.stride)


@dataclass(frozen=True)
class SlotRecords:
    """A record in HBM for each of ``count`` sequences: S, P, and the numbers of its pages."""

    records: Buffer
    record_bytes: int
    count: int
    pages: int  # that there are, of as many tokens as a tile


@dataclass(frozen=True)
class Vectors:
    """Rows in SRAM from byte ``offset`` of a buffer on, ``stride`` bytes apart: of fp32, or of
    ``kind`` (as the ISA calls a second source's: "col" is one number a row)."""

    buffer: Buffer
    offset: int
    stride: int
    kind: str = "f32"


def of_group(rows: Vectors, group: int, groups: int) -> Vectors:
    """Of m · ``groups`` rows those of one group."""
    return replace(rows, offset=rows.offset + group * rows.stride, stride=groups * rows.stride)


@dataclass(frozen=True)
class Caches:
    """The KV cache in HBM: (keys, values) of each layer, one row a token, heads side by side.

    ``keys``: how many rows there are in SRAM at a time, those of the whole context or, ``tiled``,
    of a part of it."""

    buffers: list[tuple[Buffer, Buffer]]
    row_bytes: int
    head_bytes: int
    format: StorageFormat
    keys: int
    tiled: bool
    bytes: int  # of a layer's keys, or values, of a whole context
    slots: SlotRecords | None = None

    @property
    def in_one_row(self) -> bool:
        """Whether the keys in SRAM are no more than one row of a transfer can be."""
        return self.keys * self.row_bytes <= LONGEST_ROW


@dataclass(frozen=True)
class Stored:
    """An output in HBM: one row for each new token."""

    buffer: Buffer
    row_bytes: int
    layout: Layout


@dataclass(frozen=True)
class Kept:
    """A tensor in HBM, from one pass to later ones: what lies in SRAM, chunk after chunk."""

    buffer: Buffer
    pitch_bytes: int  # from chunk to chunk
    layout: Layout


@dataclass(frozen=True)
class Tables:
    """The position tables: one row in HBM for each position, all tables side by side."""

    source: Buffer  # in HBM
    rows: Buffer  # in SRAM: the rows of the chunk's tokens
    row_bytes: int
    offset: dict[str, int]  # byte offset of each table in the row


@dataclass
class Lowering:
    """State of one lowering of ``graph`` for ``config`` with at most ``builder.chunk`` tokens a
    pass."""

    graph: Graph
    config: ChipConfig
    builder: Builder
    caches: Caches
    outputs: dict[str, Stored]  # by tensor
    layouts: dict[str, Layout]
    storage: Storage = IN_BF16
    tables: Tables | None = None
    embeddings: dict[str, tuple[Buffer, int]] = field(default_factory=dict)  # rows, row bytes
    tensors: dict[str, Placed] = field(default_factory=dict)
    activations: dict[str, Entering] = field(default_factory=dict)  # copies for the array
    constants: dict[tuple[str, int], Buffer] = field(default_factory=dict)
    kept: dict[str, Kept] = field(default_factory=dict)
    features: dict[str, Buffer] = field(default_factory=dict)  # rows in HBM, by input
    wholes: dict[str, Matrix] = field(default_factory=dict)  # constants of products
    chosen: dict[str, Buffer] = field(default_factory=dict)  # indices in HBM, by tensor
    noted: dict[str, Buffer] = field(default_factory=dict)  # maxima in HBM, by tensor
    # Constants of layers that are alike by their names in the first: each layer's, of that one {}.
    alike: Sequence[Mapping[str, str]] = ({},)
    copies: int = 1  # layers that what is being lowered stands for

    def __post_init__(self) -> None:
        self.matrices = MatrixSource(self.builder.hbm, self.config)
        self.reads = Reads(self.graph.ops)
        self.read = set(self.reads.left)  # by operators

    def constant(self, name: str, layer: int) -> Array:
        """A constant of the graph, or what is that in a later layer that is like the first."""
        return self.graph.constants[self.alike[layer].get(name, name)]

    def place(self, tensor: Tensor) -> Placed:
        """The tensor's room in SRAM, made at its first mention."""
        if tensor.name not in self.tensors:
            layout = self.layouts[tensor.name]
            buffer = self.builder.sram(tensor.name, self.builder.chunk * layout.token_bytes)
            self.tensors[tensor.name] = Placed(buffer, layout)
        return self.tensors[tensor.name]

    def overwrite(self, op: Op, source: Tensor) -> bool:
        """Give the output the room of an input, if it may; whether it has it."""
        room, layout = self.place(source), self.layouts[op.output.name]
        new = op.output.name not in self.tensors
        if new and self.reads.may_overwrite(op, source, self.tensors, layout):
            self.tensors[op.output.name] = room
        return self.place(op.output).buffer == room.buffer

    def first_row(self, buffer: Buffer, offset: int, stride: int) -> FieldValue:
        """A place in the row of a pass's first token, of rows ``stride`` bytes apart; in attention,
        in programs with slots, of the slot's first one: register FETCH."""
        if not self.caches.slots:
            return buffer.at(offset)
        self.builder.scalar("mul", rd=b.FETCH, rs=b.ROW, x=stride)
        self.builder.scalar("add", rd=b.FETCH, rs=b.FETCH, x=buffer.at(offset))
        return b.FETCH

    def refuse(self, op: Op, problem: str, remedy: str = "") -> CompileError:
        """An error that names the ONNX node."""
        return CompileError(f"{self.graph.source}: {describe(op)}", problem, remedy)

    def rows_of(self, op: Op, tensor: Tensor, groups: int, width: int) -> Rows:
        """The tensor's storage as m · groups rows of width elements."""
        stride = self.place(tensor).layout.row_bytes(groups, width)
        if stride is None:
            raise self.refuse(op, f"rows of {width} of {tensor.name} do not start at vectors")
        return Rows(groups, width, stride)

    def flat_rows(self, op: Op, tensor: Tensor) -> Rows:
        """As few rows as the storage allows: for operators that treat all elements alike."""
        layout = self.place(tensor).layout
        if layout.dense:
            return self.rows_of(op, tensor, 1, tensor.size)
        return self.rows_of(op, tensor, layout.segments, layout.width)

    def vector(
        self,
        mnemonic: str,
        out: tuple[Tensor, Rows],
        a: tuple[Tensor, Rows],
        reads: tuple[Access, ...] = (),
        fields: dict[str, FieldValue] | None = None,
    ) -> None:
        """Emit one vector instruction over rows of fp32 tensors; ``reads`` beside ``a``."""
        target, source = self.place(out[0]).buffer, self.place(a[0]).buffer
        base: dict[str, FieldValue] = {
            "dst": target.at(),
            "dstride": out[1].stride,
            "a": source.at(),
            "astride": a[1].stride,
            "rows": self.builder.rows(out[1].multiple),
            "cols": a[1].cols,
        }
        accesses = (source.access(), *reads)
        self.builder.emit(mnemonic, accesses, (target.access(),), fields=base | (fields or {}))

    def by_token(self, op: Op, tensor: Tensor) -> list[Vectors]:
        """Each group of the tensor, one row for each token."""
        placed, stride = (
            self.place(tensor),
            self.rows_of(op, tensor, tensor.groups, tensor.width).stride,
        )
        pitch = stride * tensor.groups
        return [Vectors(placed.buffer, stride * g, pitch) for g in range(tensor.groups)]

    def all_rows(self, op: Op, tensor: Tensor) -> Vectors:
        """The tensor as m · groups rows."""
        rows = self.rows_of(op, tensor, tensor.groups, tensor.width)
        return Vectors(self.place(tensor).buffer, 0, rows.stride)

    def by_rows(
        self,
        mnemonic: str,
        out: Vectors,
        a: Vectors,
        cols: int,
        b: Vectors | float | None = None,
        multiple: int = 1,
        kind: str = "f32",
    ) -> None:
        """Emit one vector instruction over m · ``multiple`` rows, or one row for 0; ``kind``: of
        the result."""
        rows = self.builder.rows(multiple) if multiple else 1
        fields: dict[str, FieldValue] = {
            "dst": out.buffer.at(out.offset),
            "dstride": out.stride,
            "a": a.buffer.at(a.offset),
            "astride": rows if a.kind == "acc" else a.stride,
            "rows": rows,
            "cols": cols,
        }
        reads = [a.buffer.access()]
        if kind != "f32":
            fields["dt"] = kind
        if a.kind != "f32":
            fields["at"] = a.kind
        if isinstance(b, Vectors):
            fields |= {"b": b.buffer.at(b.offset), "bstride": b.stride, "bt": b.kind}
            reads.append(b.buffer.access())
        elif b is not None:
            fields |= {"b": float_bits(b), "bt": "scalar"}
        self.builder.emit(mnemonic, tuple(reads), (out.buffer.access(),), fields=fields)

    def constant_row(self, name: str, values: np.ndarray) -> Buffer:
        """An fp32 row in HBM (placed once), fetched to SRAM for the next use."""
        return self.later_row(name, values.size, lambda layer: values)

    def later_row(self, name: str, count: int, make: Make) -> Buffer:
        """The same for ``count`` numbers that are made when they are written."""
        return self.builder.load(name, self.stored_row(name, count, make))

    def stored_row(self, name: str, count: int, make: Make) -> Buffer:
        """Such a row in HBM."""
        key = (name, count)
        width = round_up(count, self.config.hbm_alignment_bytes // F32_BYTES)

        def padded(layer: int) -> np.ndarray:
            values = np.asarray(make(layer), np.float32).reshape(-1)
            return np.pad(values, (0, width - count))

        if key not in self.constants:
            size = F32_BYTES * width
            self.constants[key] = self.builder.hbm.place(name, size, padded)
        return self.constants[key]


def describe(op: Op) -> str:
    """The ONNX nodes that the operator came from; of many, the first and the last."""
    names = [str(source) for source in op.sources]
    if len(names) > MOST_NAMED:
        return f"{names[0]} to {names[-1]}, {len(names)} nodes"
    return ", ".join(names) or op.kind
