"""What an instruction is made of: the header, kinds of fields, and their places in the word.

An instruction is one 256-bit word (32 bytes, little-endian): the opcode, the semaphore fields,
then the fields of the engine's format, packed from bit 0 upwards in the order in which they are
listed.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

INSTRUCTION_BYTES = 32
REGISTERS = 16  # r0 reads as zero
REGISTER_BITS = 4
SEMAPHORES = 32
SEMAPHORE_BITS = 5
WAITS = 3  # semaphores an instruction can wait for
SIGNALS = 3  # semaphores an instruction can signal
WAIT_COUNT_BITS = 2
SEMAPHORE_MAX = (1 << 16) - 1  # a semaphore's counter saturates never: programs must stay below


class Engine(IntEnum):
    """Executes its instructions in order, concurrently with the other engines."""

    SEQUENCER = 0
    LOAD = 1
    STORE = 2
    MATRIX = 3
    VECTOR = 4


@dataclass(frozen=True)
class Operand:
    """A value: an immediate of ``bits`` bits, or (flag bit on top set) the low ``bits`` of a
    register. ``default``: what an instruction has where nothing is given."""

    name: str
    bits: int
    doc: str
    default: int = 0

    @property
    def width(self) -> int:
        return self.bits + 1


@dataclass(frozen=True)
class Register:
    """A scalar register's number."""

    name: str
    doc: str

    @property
    def width(self) -> int:
        return REGISTER_BITS


@dataclass(frozen=True)
class Choice:
    """A small enumeration; the position in ``values`` is the encoding, the first is the default."""

    name: str
    values: tuple[str, ...]
    doc: str

    @property
    def width(self) -> int:
        return max(1, (len(self.values) - 1).bit_length())


Field = Operand | Register | Choice


@dataclass(frozen=True)
class Slot:
    """A field's place in the word."""

    field: Field
    offset: int

    @property
    def width(self) -> int:
        return self.field.width


@dataclass(frozen=True)
class Format:
    """The fields behind the common header; all instructions of one format share their places."""

    name: str
    fields: tuple[Field, ...]

    @cached_property
    def slots(self) -> dict[str, Slot]:
        slots, offset = {}, HEADER_BITS
        for field in self.fields:
            slots[field.name] = Slot(field, offset)
            offset += field.width
        if offset > 8 * INSTRUCTION_BYTES:
            raise ValueError(f"format {self.name}: needs at most 256 bits, not {offset}")
        return slots


OPCODE_BITS = 8
ENGINE_SHIFT = 5  # the upper bits of an opcode are its engine
WAIT_BITS = SEMAPHORE_BITS + WAIT_COUNT_BITS  # id, then count (0 = no wait)
SIGNAL_BITS = SEMAPHORE_BITS + 1  # id, then valid
HEADER_BITS = OPCODE_BITS + WAITS * WAIT_BITS + SIGNALS * SIGNAL_BITS


@dataclass(frozen=True)
class Instruction:
    """One mnemonic: its opcode, engine, format, the fields it uses (others must be 0) and
    meaning."""

    mnemonic: str
    opcode: int
    engine: Engine
    format: Format
    uses: tuple[str, ...]
    doc: str


def wait_offset(index: int) -> int:
    """Bit position of wait field ``index``: semaphore id, then count."""
    return OPCODE_BITS + index * WAIT_BITS


def signal_offset(index: int) -> int:
    """Bit position of signal field ``index``: semaphore id, then the valid bit."""
    return OPCODE_BITS + WAITS * WAIT_BITS + index * SIGNAL_BITS
