"""Hypothesis strategy of legal instructions."""

from hypothesis import strategies as st

from isa.program import Op, Reg, Value
from isa.table import INSTRUCTIONS, Choice, Field, Instruction, Register


def _value(field: Field) -> st.SearchStrategy[Value]:
    registers = st.integers(0, 15).map(Reg)
    if isinstance(field, Choice):
        return st.sampled_from(field.values)
    if isinstance(field, Register):
        return registers
    largest = (1 << field.bits) - 1
    return st.integers(0, largest) | st.sampled_from([0, 1, largest]) | registers


def _fields(spec: Instruction) -> st.SearchStrategy[dict[str, Value]]:
    values = {name: _value(spec.format.slots[name].field) for name in spec.uses}
    registers = {
        n: v for n, v in values.items() if isinstance(spec.format.slots[n].field, Register)
    }
    others = {name: value for name, value in values.items() if name not in registers}
    return st.fixed_dictionaries(registers, optional=others)


@st.composite
def operations(draw: st.DrawFn) -> Op:
    """Any instruction, with any legal fields and semaphores."""
    spec = draw(st.sampled_from(INSTRUCTIONS))
    semaphore = st.integers(0, 31)
    waits = draw(st.lists(st.tuples(semaphore, st.integers(1, 3)), max_size=3))
    signals = draw(st.lists(semaphore, max_size=3))
    return Op(spec.mnemonic, draw(_fields(spec)), tuple(waits), tuple(signals))
