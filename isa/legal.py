"""What an instruction's operands must satisfy on a chip: the rules behind most traps.

The rules (`isa.rules_memory`, `isa.rules_matrix`, `isa.rules_vector`) are written once, as
arithmetic that both Python's integers and hardware signals do: the functional simulator evaluates
them for a command, the RTL builds its checker from the same calls. The order of a list is the order
of the instruction's fields inside each cause (`isa.traps`).
"""

from typing import NamedTuple

from isa.config import ChipConfig
from isa.rules import Number, Operands, Rule
from isa.rules_matrix import matrix_rules
from isa.rules_memory import dma_rules, scalar_rules
from isa.rules_vector import vector_rules
from isa.table import BY_MNEMONIC, DMA, MATRIX, VECTOR, Engine, Format
from isa.traps import Cause, Fault


def rules(config: ChipConfig, engine: Engine, f: Operands) -> list[Rule]:
    """All rules of an engine's instructions that have operands, each for all its mnemonics."""
    return _ordered(engine, _rules(config, engine, f))


_RULES = {
    Engine.MATRIX: matrix_rules,
    Engine.VECTOR: vector_rules,
    Engine.SEQUENCER: scalar_rules,
}
_ORDER = {
    Engine.MATRIX: list(MATRIX.slots),
    Engine.VECTOR: list(VECTOR.slots),
    Engine.SEQUENCER: ["x", "y"],
}


def _rules(config: ChipConfig, engine: Engine, f: Operands) -> list[Rule]:
    return _RULES[engine](config, f) if engine in _RULES else dma_rules(config, f, engine)


def _ordered(engine: Engine, found: list[Rule]) -> list[Rule]:
    order = _ORDER.get(engine, list(DMA.slots))
    return sorted(found, key=lambda rule: (rule.cause, order.index(rule.field)))


class _Integers:
    """Operands of a resolved command."""

    def __init__(self, fields: Format, mnemonic: str, values: tuple, memory_atoms: int) -> None:
        self._values = dict(zip(fields.slots, values, strict=True))
        self._mnemonic, self._atoms = mnemonic, memory_atoms

    def value(self, name: str) -> int:
        return self._values[name]

    def chosen(self, name: str, *values: str) -> bool:
        return self._values[name] in values

    def opcode_in(self, *mnemonics: str) -> bool:
        return self._mnemonic in mnemonics

    def select(self, condition: Number, one: Number, other: Number) -> Number:
        return one if condition else other

    def less_one(self, value: int) -> int:
        return value - 1

    def last_row_of_b(self) -> int:
        return (self._values["rows"] - 1) // max(self._values["rep"], 1)

    def memory_atoms(self) -> int:
        return self._atoms


class Finding(NamedTuple):
    """The first fault of a command, and the numbers behind it in words."""

    fault: Fault
    detail: str


def fault_of(config: ChipConfig, mnemonic: str, values: tuple, memory_atoms: int) -> Finding | None:
    """The first fault of a resolved engine command; None if it is legal.

    ``values``: one for each field of the format, choices by name, as in `sim.scalar.Command`;
    of `ld` and `st` the base in atoms and the offset in bytes (fields ``x``, ``y``).
    """
    spec = BY_MNEMONIC[mnemonic]
    if not spec.uses:
        return None
    if spec.engine == Engine.SEQUENCER:
        values = (0, 0, *values)
    operands = _Integers(spec.format, mnemonic, values, memory_atoms)
    broken = [rule for rule in _rules(config, spec.engine, operands) if rule.broken]
    for rule in _ordered(spec.engine, broken):
        fault = Fault(rule.cause, list(spec.format.slots).index(rule.field))
        return Finding(fault, _detail(rule, values[fault.where]))
    return None


def _detail(rule: Rule, value: int | str) -> str:
    if rule.cause == Cause.MISALIGNED:
        return f" to {rule.wanted}, not 0x{rule.have:x}"
    if rule.cause == Cause.OUT_OF_RANGE:
        return f", not at 0x{rule.have:x} of 0x{rule.wanted:x}"
    return f", not {value}"
