"""The words in which rules about operands are written (`isa.legal` says which rules there are)."""

from typing import Any, NamedTuple, Protocol

from isa.traps import Cause

Number = Any  # an int, or a hardware value: what +, *, >>, &, |, <, == are for
BINARY = ("vadd", "vsub", "vmul", "vmax", "vmin")
REDUCTIONS = ("vsum", "vrmax", "vargmax")
INDEX_BYTES = 4  # of a row number in the list of `gather`


class Rule(NamedTuple):
    """``broken`` (a bool or one bit) says that the instruction has the fault.

    ``have``, ``wanted``: for messages; of MISALIGNED the value and its unit, of OUT_OF_RANGE the
    end and its limit.
    """

    cause: Cause
    field: str
    broken: Number
    have: Number = None
    wanted: Number = None


class Operands(Protocol):
    """A command's fields as numbers, in Python or in hardware."""

    def value(self, name: str) -> Number:
        """An operand."""

    def chosen(self, name: str, *values: str) -> Number:
        """Whether the choice ``name`` is one of ``values``."""

    def opcode_in(self, *mnemonics: str) -> Number:
        """Whether the instruction is one of these."""

    def select(self, condition: Number, one: Number, other: Number) -> Number:
        """``one`` if ``condition`` else ``other``."""

    def less_one(self, value: Number) -> Number:
        """``value`` - 1, of a value that is at least 1 (anything for 0)."""

    def last_row_of_b(self) -> Number:
        """(rows - 1) // max(rep, 1) of a vector instruction."""

    def memory_atoms(self) -> Number:
        """Size of the program's memory in atoms of 64 bytes."""


def misaligned(f: Operands, unit: Number, *names: str) -> list[Rule]:
    """Values that are no multiples of ``unit``, a power of two of Python or of hardware."""
    values = {name: f.value(name) for name in names}
    return [
        Rule(Cause.MISALIGNED, name, (value & f.less_one(unit)) != 0, value, unit)
        for name, value in values.items()
    ]


def beyond(field: str, end: Number, limit: Number) -> Rule:
    """What ends behind its memory."""
    return Rule(Cause.OUT_OF_RANGE, field, end > limit, end, limit)


def ceil(value: Number, divisor: int) -> Number:
    """Division by a power of two, rounded up."""
    return (value + (divisor - 1)) >> (divisor.bit_length() - 1)
