"""Why a chip stops: the causes of traps, alike in all back ends."""

from enum import IntEnum
from typing import NamedTuple

from isa.table import BY_OPCODE, Operand


class Cause(IntEnum):
    """What was wrong with an instruction. Of several faults, the first in this order counts; among
    faults of one cause that of the first field in the format."""

    NONE = 0
    END_OF_PROGRAM = 1  # the program counter is behind the last instruction
    ILLEGAL_OPCODE = 2
    RESERVED_BITS = 3  # a bit that the mnemonic does not use, or an encoding without meaning
    REGISTER_OVERFLOW = 4  # an operand's register holds more bits than the field has
    BAD_SIZE = 5  # zero, or too much for what it counts
    UNSUPPORTED_FORMAT = 6  # a format that this chip's units do not take
    MISALIGNED = 7
    OVERLAP = 8  # rows that are written lie over each other, or over what is still to be read
    OUT_OF_RANGE = 9  # of SRAM, accumulators, or the memory that the program was given
    NOT_SIGNALLED = 10  # waits for more than the instructions before it have signalled
    SEMAPHORE_OVERFLOW = 11
    WATCHDOG = 12  # nothing has moved for the configuration's watchdog_cycles
    BUS_ERROR = 13  # the memory answered an access with an error
    SRAM_ERROR = 14  # a line of the SRAM came with a wrong parity


IMPRECISE = (Cause.WATCHDOG, Cause.BUS_ERROR, Cause.SRAM_ERROR)  # found while time passes
CAUSE_BITS = 4
WHERE_BITS = 5


class Fault(NamedTuple):
    """A cause and its place: ``where`` is the field's position in the instruction's format, the
    semaphore's number (NOT_SIGNALLED, SEMAPHORE_OVERFLOW), or 0."""

    cause: Cause
    where: int = 0


TEXT = {
    Cause.END_OF_PROGRAM: "behind the end of the program",
    Cause.ILLEGAL_OPCODE: "illegal opcode 0x{opcode:02x}",
    Cause.RESERVED_BITS: "reserved bits must be 0",
    Cause.REGISTER_OVERFLOW: "the register given for {field} must fit its {bits} bits",
    Cause.BAD_SIZE: "{field} must be a legal size",
    Cause.UNSUPPORTED_FORMAT: "{field} must be a format that this chip's units take",
    Cause.MISALIGNED: "{field} must be aligned",
    Cause.OVERLAP: "{field} must keep rows apart that are written",
    Cause.OUT_OF_RANGE: "what begins at {field} must end inside its memory",
    Cause.NOT_SIGNALLED: "waits for more of semaphore s{where} than has been signalled",
    Cause.SEMAPHORE_OVERFLOW: "semaphore s{where} must stay below 65536",
    Cause.WATCHDOG: "nothing has moved for the watchdog's time: a deadlock",
    Cause.BUS_ERROR: "the memory refused an access",
    Cause.SRAM_ERROR: "a line of the SRAM has a wrong parity",
}


def reason(fault: Fault, word: bytes | None) -> str:
    """What is wrong with the instruction of the 32 bytes ``word`` (None: behind the end)."""
    spec = BY_OPCODE.get(word[0]) if word else None
    names = list(spec.format.slots) if spec else []
    field = names[fault.where] if fault.where < len(names) else ""
    described = spec.format.slots[field].field if spec and field else None
    bits = described.bits if isinstance(described, Operand) else 0
    opcode = word[0] if word else 0
    return TEXT[fault.cause].format(opcode=opcode, field=field, bits=bits, where=fault.where)


def explain(fault: Fault, pc: int, word: bytes | None) -> str:
    """One line on a trap at instruction ``pc``. All back ends say it in these words."""
    spec = BY_OPCODE.get(word[0]) if word else None
    where = f"instruction {pc} ({spec.mnemonic})" if spec else f"instruction {pc}"
    return f"{where}: {reason(fault, word)}"
