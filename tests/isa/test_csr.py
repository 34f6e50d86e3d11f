"""The map of the host's registers."""

from isa import csr
from isa.counters import COUNTERS, CYCLE_CLASSES
from isa.csr import BY_NAME, REGISTERS, WORD_BYTES
from isa.table import Engine


def test_words_lie_apart_and_inside():
    offsets = [register.offset for register in REGISTERS]
    assert len(set(offsets)) == len(offsets)
    assert all(offset % WORD_BYTES == 0 for offset in offsets)
    assert 0 <= min(offsets) <= max(offsets) < 1 << csr.ADDRESS_BITS


def test_all_that_is_counted_can_be_read():
    assert set(COUNTERS) <= set(BY_NAME)
    classes = {csr.class_name(engine, name) for engine in Engine for name in CYCLE_CLASSES}
    assert classes <= set(BY_NAME)
    assert len(classes) == len(Engine) * len(CYCLE_CLASSES)


def test_what_may_be_written():
    written = {register.name for register in REGISTERS if register.access != "ro"}
    assert written == {"control", "code_base", "code_count", "memory_atoms"}
    assert {register.access for register in REGISTERS} == {"ro", "rw", "wo"}
    assert all(register.doc for register in REGISTERS)
