"""Instructions as values, and their encoding."""

import pytest
from hypothesis import given, strategies as st

from isa import table
from isa.program import Op, Reg, decode, decode_program, encode, encode_program
from tests.isa.operations import operations


def test_fields_default_to_zero_and_the_first_choice():
    op = Op("vadd", {"dst": 3, "bt": "col"})
    assert (op.get("dst"), op.get("a"), op.get("dt"), op.get("bt")) == (3, 0, "f32", "col")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vfoo",), "unknown instruction 'vfoo'"),
        (("halt", {"x": 1}), "halt: no field 'x' \\(fields: none\\)"),
        (("add", {"rd": 1}), "add: rd must be a register, not 1"),
        (("load", {"rows": "many"}), "load: rows must be a number or a register, not 'many'"),
        (("load", {"rows": 1 << 16}), "load: rows must fit 16 bits, not 65536"),
        (("load", {"rows": -1}), "load: rows must fit 16 bits, not -1"),
        (("matmul", {"mode": "add"}), "matmul: mode must be one of .*, not 'add'"),
        (("halt", {}, ((0, 1),) * 4), "halt: at most 3 waits and 3 signals, not 4 and 0"),
        (("halt", {}, (), (0,) * 4), "halt: at most 3 waits and 3 signals, not 0 and 4"),
        (("halt", {}, ((32, 1),)), "halt: semaphore must be 0 … 31, not 32"),
        (("halt", {}, ((3, 4),)), "halt: a wait's count must be 1 … 3, not 4"),
    ],
)
def test_impossible_instructions_are_refused(arguments: tuple, message: str):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Op(*arguments)


@pytest.mark.parametrize("index", [-1, 16])
def test_registers_that_do_not_exist_are_refused(index: int):
    with pytest.raises(ValueError, match=f"^register must be r0 … r15, not r{index}$"):
        Reg(index)


def test_encoding_of_one_instruction_by_hand():
    op = Op("add", {"rd": Reg(3), "rs": Reg(4), "x": Reg(5)}, waits=((6, 2),), signals=(7,))
    word = int.from_bytes(encode(op), "little")
    header = 0x03 | (6 | 2 << 5) << 8 | (7 | 1 << 5) << (8 + 3 * 7)
    fields = 3 | 4 << 4 | (5 | 1 << 32) << 8
    assert word == header | fields << (8 + 3 * 7 + 3 * 6)


@given(operations())
def test_decoding_gives_the_same_instruction(op: Op):
    again = decode(encode(op))
    assert encode(again) == encode(op)
    assert (again.mnemonic, again.waits, again.signals) == (op.mnemonic, op.waits, op.signals)
    assert all(again.get(name) == op.get(name) for name in op.fields)


@given(st.binary(min_size=32, max_size=32))
def test_any_bytes_decode_to_what_encodes_to_them_or_are_refused(data: bytes):
    try:
        op = decode(data)
    except ValueError:
        return
    assert encode(op) == data


@pytest.mark.parametrize(
    ("op", "bit", "message"),
    [
        (Op("halt"), 255, "instruction 1: halt: reserved bits must be 0"),
        (Op("halt"), 4, "instruction 1: illegal opcode 0x11"),
        (Op("vmov", {"dt": "e5m2"}), None, "instruction 1: vmov: dt has the reserved encoding 5"),
    ],
)
def test_faults_name_the_instruction(op: Op, bit: int | None, message: str):
    if bit is None:
        bit = op.spec.format.slots["dt"].offset
    word = int.from_bytes(encode(op), "little") ^ 1 << bit
    code = encode(Op("halt")) + word.to_bytes(32, "little")
    with pytest.raises(ValueError, match=f"^{message}$"):
        decode_program(code)


def test_programs():
    ops = [Op("sync"), Op("st", {"rs": Reg(0), "x": 5, "y": 0}), Op("halt")]
    assert encode_program(decode_program(encode_program(ops))) == encode_program(ops)
    assert decode_program(b"") == []


def test_no_two_fields_share_a_bit():
    for fields in table.FORMATS:
        used = (1 << table.HEADER_BITS) - 1
        for slot in fields.slots.values():
            mask = (1 << slot.width) - 1 << slot.offset
            assert not used & mask, f"{fields.name}.{slot.field.name}"
            used |= mask
        assert used < 1 << 256


def test_opcodes_name_the_engine_and_zero_is_illegal():
    assert all(entry.engine == entry.opcode >> table.ENGINE_SHIFT for entry in table.INSTRUCTIONS)
    assert 0 not in table.BY_OPCODE
