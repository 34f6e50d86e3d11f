"""Instructions before addresses are known: what the lowering emits and the later passes
transform."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from isa.program import Reg
from isa.table import BY_MNEMONIC, DMA, Engine, Operand


@dataclass(frozen=True)
class Buffer:
    """Room in one memory. ``address`` is fixed for HBM and accumulators, allocated later for
    SRAM; ``layered``: it is that of the first of several layers that are alike."""

    name: str
    space: str  # "sram" and "hbm" in bytes, "acc" in accumulator rows
    size: int
    address: int | None = None
    layered: bool = False

    def at(self, offset: int = 0, unit: int = 1) -> "Address":
        """An operand: the address of ``offset`` in the buffer, in units of ``unit`` bytes."""
        return Address(self, offset, unit)

    def access(self, start: int = 0, size: int | None = None) -> "Access":
        """The part [start, start + size) of the buffer, the whole by default."""
        return Access(self, start, self.size if size is None else start + size)


@dataclass(frozen=True)
class Address:
    """An address operand, resolved after allocation."""

    buffer: Buffer
    offset: int
    unit: int


@dataclass(frozen=True)
class Access:
    """Bytes (accumulator rows) [start, end) of a buffer that an instruction may touch."""

    buffer: Buffer
    start: int
    end: int


@dataclass(frozen=True)
class Label:
    """A place in the program that branches name."""

    name: str


_LENGTH = DMA.slots["bytes"].field
assert isinstance(_LENGTH, Operand)
LONGEST_ROW = (1 << _LENGTH.bits) - 1  # most bytes of a row of one transfer
_ROWS = DMA.slots["rows"].field
assert isinstance(_ROWS, Operand)
MOST_ROWS = (1 << _ROWS.bits) - 1  # of one transfer
FieldValue = int | Reg | str | Address | Label


@dataclass
class VirtualOp:
    """One instruction, with what it may read and write and the ONNX node it works for.

    ``prefetch`` marks loads of data that exists before the launch: they may move up. ``setup``
    makes the registers that such a load names, and moves with it. ``parts``: of a load for several
    nodes, bytes of each.
    """

    mnemonic: str
    fields: dict[str, FieldValue]
    reads: tuple[Access, ...] = ()
    writes: tuple[Access, ...] = ()
    source: str = ""
    prefetch: bool = False
    setup: "tuple[VirtualOp, ...]" = ()
    waits: list[int] = field(default_factory=list)
    signals: list[int] = field(default_factory=list)
    parts: Mapping[str, int] = field(default_factory=dict)

    @property
    def engine(self) -> Engine:
        return BY_MNEMONIC[self.mnemonic].engine


Item = VirtualOp | Label


def accesses(item: Item) -> tuple[Access, ...]:
    """All that an instruction may touch; a label touches nothing."""
    return (*item.reads, *item.writes) if isinstance(item, VirtualOp) else ()
