"""Blocks of fp32 rows in SRAM: what brings them from HBM and back, and vector instructions."""

import math
from dataclasses import dataclass, replace

import numpy as np

from compiler.builder import Builder, round_up
from compiler.numerics import float_bits
from compiler.virtual import LONGEST_ROW, Access, Buffer, FieldValue
from isa.config import BF16_BYTES, F32_BYTES, HBM_ATOM_BYTES, ChipConfig

ATOM = HBM_ATOM_BYTES // F32_BYTES  # elements
ELEMENT_BYTES = {"f32": F32_BYTES, "bf16": BF16_BYTES, "i8": 1, "e4m3": 1, "e5m2": 1}
SYNC_EVERY = 128  # instructions
MOST_ROWS = (1 << 16) - 1  # of one instruction


@dataclass(frozen=True)
class Block:
    """``rows`` rows of ``cols`` elements of type ``kind`` in SRAM, ``stride`` bytes apart.

    ``column``: only lane 0 of each row counts, as a reduction leaves it.
    """

    buffer: Buffer
    rows: int
    cols: int
    stride: int
    kind: str = "f32"
    column: bool = False


@dataclass(frozen=True)
class Array:
    """``size`` fp32 numbers behind each other in HBM."""

    buffer: Buffer
    size: int

    @property
    def address(self) -> int:
        """Of the first byte."""
        assert self.buffer.address is not None
        return self.buffer.address

    def access(self, first: int, pitch: int, rows: int, cols: int) -> Access:
        """Rows of cols elements, ``pitch`` elements apart, from element ``first`` on."""
        return self.buffer.access(F32_BYTES * first, F32_BYTES * ((rows - 1) * pitch + cols))


Operand = Block | float


class Machine:
    """Emits instructions on blocks; `Builder` collects them. A result is a new block."""

    def __init__(self, config: ChipConfig) -> None:
        self.config = config
        self.builder = Builder(config, 1)
        # Elements of a tensor that are in SRAM at a time: some 50 tensors fit.
        self.chunk = config.sram_bytes // (64 * F32_BYTES)
        self._patterns: dict[bytes, Array] = {}
        self._unsynchronised = 0

    def emit(
        self,
        mnemonic: str,
        reads: tuple[Access, ...],
        writes: tuple[Access, ...],
        fields: dict[str, FieldValue],
    ) -> None:
        """Append one instruction. Now and then all engines wait for each other, so that hazards
        need to be looked for only since then."""
        if self._unsynchronised == SYNC_EVERY:
            self.builder.scalar("sync")
            self._unsynchronised = 0
        self._unsynchronised += 1
        self.builder.emit(mnemonic, reads, writes, fields=fields)

    # Memory

    def reserve(self, name: str, size: int) -> Array:
        """Room for ``size`` numbers, zeros at first."""
        return Array(self.builder.hbm.reserve(name, F32_BYTES * size), size)

    def place(self, name: str, values: np.ndarray) -> Array:
        """Constants: any array of fp32, or of uint32 for lists of addresses."""
        assert values.dtype in (np.float32, np.uint32)
        data = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
        return Array(self.builder.hbm.place(name, data.size, lambda layer: data), values.size)

    def block(self, rows: int, cols: int, kind: str = "f32", column: bool = False) -> Block:
        """Room in SRAM; rows start at lines."""
        stride = self.block_stride(self.config.lanes if column else cols, kind)
        return Block(self.builder.sram("block", rows * stride), rows, cols, stride, kind, column)

    def block_stride(self, cols: int, kind: str = "f32") -> int:
        """Bytes from row to row of a block."""
        return round_up(ELEMENT_BYTES[kind] * cols, self.config.line_bytes)

    def load(self, source: Array, first: int, rows: int, cols: int, pitch: int) -> Block:
        """Rows of HBM, ``pitch`` elements apart, from element ``first`` on."""
        block = self.block(rows, cols)
        self._transfer("load", source, first, pitch, block)
        return block

    def store(self, block: Block, target: Array, first: int, pitch: int) -> None:
        """The reverse of `load`; of a column, its lane 0."""
        self._transfer("store", target, first, pitch, block)

    def _transfer(self, mnemonic: str, array: Array, first: int, pitch: int, block: Block) -> None:
        """DMA steps from atom to atom: rows that begin at the same byte of theirs go together."""
        cols = 1 if block.column else block.cols
        assert cols * F32_BYTES <= LONGEST_ROW
        together = ATOM // math.gcd(pitch, ATOM)
        if together * block.stride >= 1 << 20 or pitch * together // ATOM >= 1 << 24:
            together = block.rows  # distances that no instruction holds: one row each
        for row in range(min(together, block.rows)):
            count = -(-(block.rows - row) // together)
            start = first + row * pitch
            byte = array.address + F32_BYTES * start
            fields: dict[str, FieldValue] = {
                "hbm": byte // HBM_ATOM_BYTES,
                "offset": byte % HBM_ATOM_BYTES,
                "hstride": pitch * together // ATOM if count > 1 else 0,
                "sram": block.buffer.at(row * block.stride),
                "sstride": together * block.stride if count > 1 else 0,
                "rows": count,
                "bytes": F32_BYTES * cols,
            }
            outside = array.access(start, pitch * together, count, cols)
            last = row + (count - 1) * together + 1
            inside = block.buffer.access(row * block.stride, (last - row) * block.stride)
            reads, writes = (outside, inside) if mnemonic == "load" else (inside, outside)
            self.emit(mnemonic, (reads,), (writes,), fields=fields)

    def pattern(self, values: np.ndarray) -> Block:
        """One row of constants, in SRAM."""
        values = values.astype(np.float32)
        if values.tobytes() not in self._patterns:
            self._patterns[values.tobytes()] = self.place("pattern", values)
        array = self._patterns[values.tobytes()]
        return self.load(array, 0, 1, values.size, values.size)

    # The vector unit

    def unary(self, mnemonic: str, a: Block, kind: str = "f32") -> Block:
        """``vmov``, ``vexp2``, …: a new block of type ``kind``."""
        return self._vector(mnemonic, a, self.block(a.rows, a.cols, kind, a.column))

    def reduce(self, mnemonic: str, a: Block) -> Block:
        """``vsum``, ``vrmax``, ``vargmax``: a column."""
        return self._vector(mnemonic, a, self.block(a.rows, 1, column=True))

    def rotate(self, a: Block, shift: int) -> Block:
        """Each row by ``shift`` elements to the left."""
        out = replace(a, buffer=self.builder.sram("block", a.buffer.size))
        return self._vector("vrot", a, out, {"rep": shift})

    def binary(self, mnemonic: str, a: Block, b: Operand, kind: str = "f32") -> Block:
        """``vadd``, …; ``b``: a number, a column, one row for all, or as many rows."""
        out = self.block(a.rows, a.cols, kind, a.column)
        if not isinstance(b, Block):
            return self._vector(mnemonic, a, out, {"b": float_bits(b), "bt": "scalar"})
        bstride = 0 if b.rows == 1 else b.stride
        kind_of_b = "col" if b.column and not a.column else b.kind
        fields: dict[str, FieldValue] = {"b": b.buffer.at(), "bstride": bstride, "bt": kind_of_b}
        return self._vector(mnemonic, a, out, fields, (b.buffer.access(),))

    def _vector(
        self,
        mnemonic: str,
        a: Block,
        out: Block,
        fields: dict[str, FieldValue] | None = None,
        reads: tuple[Access, ...] = (),
    ) -> Block:
        base: dict[str, FieldValue] = {
            "dst": out.buffer.at(),
            "dstride": out.stride,
            "a": a.buffer.at(),
            "astride": a.stride,
            "rows": a.rows,
            "cols": a.cols,
            "at": a.kind,
            "dt": out.kind,
        }
        accesses = (a.buffer.access(), *reads)
        fields = base | (fields or {})
        self.emit(mnemonic, accesses, (out.buffer.access(),), fields=fields)
        return out

    # Bytes of numbers

    def as_bytes(self, a: Block) -> Block:
        """The bits of all numbers of ``a``, and of what lies behind its rows, as signed bytes; rows
        are lines."""
        line = self.config.line_bytes
        return Block(a.buffer, a.buffer.size // line, line, line, "i8")

    def from_bytes(self, a: Block, like: Block) -> Block:
        """The reverse: ``a`` as a block of the form of ``like``."""
        return replace(like, buffer=a.buffer)
