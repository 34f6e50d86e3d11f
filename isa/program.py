"""An instruction as a value, and its 256-bit encoding."""

from dataclasses import dataclass, field
from functools import lru_cache

from isa import table
from isa.table import BY_MNEMONIC, BY_OPCODE, Choice, Instruction, Operand, Register
from isa.traps import Cause


class DecodeError(ValueError):
    """Not an instruction; ``cause`` is that of the trap."""

    def __init__(self, cause: Cause, message: str) -> None:
        super().__init__(message)
        self.cause = cause


@dataclass(frozen=True)
class Reg:
    """An operand taken from scalar register ``index`` when the instruction is dispatched."""

    index: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < table.REGISTERS:
            raise ValueError(f"register must be r0 … r{table.REGISTERS - 1}, not r{self.index}")


Value = int | Reg | str


def default_of(described: table.Field) -> int | str:
    """What a field that is used, and not given, holds; of a register's number 0."""
    if isinstance(described, Choice):
        return described.values[0]
    return described.default if isinstance(described, Operand) else 0


@dataclass(frozen=True)
class Op:
    """One instruction: ``fields`` maps field names of the format to integers, registers or choices.

    Fields that the mnemonic uses and that are not given have the table's defaults (choices: their
    first value).
    ``waits`` lists (semaphore, count), acquired before the engine starts; ``signals`` lists
    semaphores that are raised by one when everything the instruction wrote is visible.
    """

    mnemonic: str
    fields: dict[str, Value] = field(default_factory=dict)
    waits: tuple[tuple[int, int], ...] = ()
    signals: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.mnemonic not in BY_MNEMONIC:
            raise ValueError(f"unknown instruction {self.mnemonic!r}")
        for name, value in self.fields.items():
            if name not in self.spec.uses:
                wanted = ", ".join(self.spec.uses) or "none"
                raise ValueError(f"{self.mnemonic}: no field {name!r} (fields: {wanted})")
            _check(self.mnemonic, self.spec.format.slots[name].field, value)
        _check_semaphores(self.mnemonic, self.waits, self.signals)

    @property
    def spec(self) -> Instruction:
        return BY_MNEMONIC[self.mnemonic]

    def get(self, name: str) -> Value:
        """A field's value, its default where it was not given."""
        if name in self.fields:
            return self.fields[name]
        return default_of(self.spec.format.slots[name].field)


def _check(mnemonic: str, described: table.Field, value: Value) -> None:
    name = described.name
    if isinstance(described, Choice):
        if value not in described.values:
            raise ValueError(f"{mnemonic}: {name} must be one of {described.values}, not {value!r}")
    elif isinstance(described, Register):
        if not isinstance(value, Reg):
            raise ValueError(f"{mnemonic}: {name} must be a register, not {value!r}")
    elif isinstance(value, str):
        raise ValueError(f"{mnemonic}: {name} must be a number or a register, not {value!r}")
    elif not isinstance(value, Reg) and not 0 <= value < 1 << described.bits:
        raise ValueError(f"{mnemonic}: {name} must fit {described.bits} bits, not {value}")


def _check_semaphores(
    mnemonic: str, waits: tuple[tuple[int, int], ...], signals: tuple[int, ...]
) -> None:
    if len(waits) > table.WAITS or len(signals) > table.SIGNALS:
        raise ValueError(
            f"{mnemonic}: at most {table.WAITS} waits and {table.SIGNALS} signals, "
            f"not {len(waits)} and {len(signals)}"
        )
    for semaphore in [*signals, *(semaphore for semaphore, _ in waits)]:
        if not 0 <= semaphore < table.SEMAPHORES:
            raise ValueError(
                f"{mnemonic}: semaphore must be 0 … {table.SEMAPHORES - 1}, not {semaphore}"
            )
    for _, count in waits:
        if not 1 <= count < 1 << table.WAIT_COUNT_BITS:
            limit = (1 << table.WAIT_COUNT_BITS) - 1
            raise ValueError(f"{mnemonic}: a wait's count must be 1 … {limit}, not {count}")


def encode(op: Op) -> bytes:
    """The 32 bytes of an instruction."""
    word = op.spec.opcode
    for index, (semaphore, count) in enumerate(op.waits):
        word |= (semaphore | count << table.SEMAPHORE_BITS) << table.wait_offset(index)
    for index, semaphore in enumerate(op.signals):
        word |= (semaphore | 1 << table.SEMAPHORE_BITS) << table.signal_offset(index)
    for name in op.spec.uses:
        slot = op.spec.format.slots[name]
        word |= _encode_field(slot.field, op.get(name)) << slot.offset
    return word.to_bytes(table.INSTRUCTION_BYTES, "little")


def _encode_field(described: table.Field, value: Value) -> int:
    if isinstance(described, Choice):
        return described.values.index(str(value))
    if isinstance(described, Register):
        return value.index if isinstance(value, Reg) else 0
    if isinstance(value, Reg):
        return value.index | 1 << described.bits
    return int(value)


@lru_cache(maxsize=1 << 14)  # programs are decoded several times and have many instructions alike
def decode(data: bytes) -> Op:
    """The instruction of 32 bytes; DecodeError if they are none (unknown opcode, reserved bits
    set)."""
    word = int.from_bytes(data, "little")
    opcode = word & (1 << table.OPCODE_BITS) - 1
    if opcode not in BY_OPCODE:
        raise DecodeError(Cause.ILLEGAL_OPCODE, f"illegal opcode 0x{opcode:02x}")
    spec = BY_OPCODE[opcode]
    waits, signals = [], []
    for index in range(table.WAITS):
        raw = word >> table.wait_offset(index)
        count = raw >> table.SEMAPHORE_BITS & (1 << table.WAIT_COUNT_BITS) - 1
        if count:
            waits.append((raw & table.SEMAPHORES - 1, count))
    for index in range(table.SIGNALS):
        raw = word >> table.signal_offset(index)
        if raw >> table.SEMAPHORE_BITS & 1:
            signals.append(raw & table.SEMAPHORES - 1)
    fields = {}
    for name in spec.uses:
        slot = spec.format.slots[name]
        raw = word >> slot.offset & (1 << slot.width) - 1
        fields[name] = _decode_field(spec.mnemonic, slot.field, raw)
    op = Op(spec.mnemonic, fields, tuple(waits), tuple(signals))
    if encode(op) != data:
        raise DecodeError(Cause.RESERVED_BITS, f"{spec.mnemonic}: reserved bits must be 0")
    return op


def _decode_field(mnemonic: str, described: table.Field, raw: int) -> Value:
    if isinstance(described, Choice):
        if raw >= len(described.values):
            message = f"{mnemonic}: {described.name} has the reserved encoding {raw}"
            raise DecodeError(Cause.RESERVED_BITS, message)
        return described.values[raw]
    if isinstance(described, Register):
        return Reg(raw)
    assert isinstance(described, Operand)
    if raw >> described.bits:
        return Reg(raw & table.REGISTERS - 1)
    return raw


def encode_program(ops: list[Op]) -> bytes:
    """The program text: all instructions behind each other."""
    return b"".join(encode(op) for op in ops)


def decode_program(code: bytes) -> list[Op]:
    """Inverse of :func:`encode_program`; a fault names the instruction's index."""
    size, ops = table.INSTRUCTION_BYTES, []
    for start in range(0, len(code), size):
        try:
            ops.append(decode(code[start : start + size]))
        except ValueError as error:
            raise ValueError(f"instruction {start // size}: {error}") from None
    return ops
