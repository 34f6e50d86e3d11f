"""The sequencer's semantics."""

import numpy as np
import pytest

from isa.assembler import assemble
from isa.config import load_config
from isa.table import Engine
from sim.errors import SimulationError, Trap
from sim.scalar import ScalarMachine

TINY = load_config("tiny")


def run(text: str, words: int = 64, limit: int = 10_000):
    """Registers, memory (u32) and yielded commands of a program."""
    memory = np.zeros(4 * words, np.uint8)
    machine = ScalarMachine(TINY, assemble(text, "text").code)
    commands = list(machine.run(memory, limit))
    return machine, memory.view(np.uint32), commands


@pytest.mark.parametrize(
    ("operation", "a", "b", "wanted"),
    [
        ("add", 0xFFFFFFFF, 2, 1),
        ("sub", 1, 2, 0xFFFFFFFF),
        ("mul", 0xFFFFFFFF, 0xFFFFFFFE, 2),
        ("and", 0xF0F0, 0xFF00, 0xF000),
        ("or", 0xF0F0, 0xFF00, 0xFFF0),
        ("shl", 0x80000001, 33, 2),
        ("shr", 0x80000001, 31, 1),
        ("shr", 0x80000001, 32, 0x80000001),
        ("min", 0x80000000, 1, 1),
        ("max", 0x80000000, 1, 0x80000000),
    ],
)
def test_arithmetic(operation: str, a: int, b: int, wanted: int):
    text = f"add rd=r1, x={a}\nadd rd=r2, x={b}\n"
    machine, _, _ = run(
        text + f"{operation} rd=r3, rs=r1, x=r2\n{operation} rd=r4, rs=r1, x={b}\nhalt"
    )
    assert machine.registers[3:5] == [wanted, wanted]


def test_register_0_is_zero_and_registers_start_at_zero():
    machine, memory, _ = run("add x=5\nld rd=r0, y=4\nst rs=r0, y=8\nadd rd=r1, rs=r9, x=1\nhalt")
    assert machine.registers == [0, 1] + [0] * 14
    assert not memory.any()


def test_branches_are_unsigned_and_take_registers_as_targets():
    machine, _, _ = run(
        """
        add rd=r1, x=0xFFFFFFFF
        blt rs=r1, x=1, y=wrong      # not as signed numbers
        blt rs=r1, x=r1, y=wrong     # nor if equal
        blt rs=r0, x=r1, y=good
        wrong: add rd=r2, x=1
        good: add rd=r3, x=end
        beq rs=r1, x=r1, y=r3
        add rd=r2, rs=r2, x=2
        end: halt
        """
    )
    assert machine.registers[2] == 0
    assert machine.executed == 7


def test_memory_is_addressed_in_atoms_and_bytes():
    machine, memory, _ = run(
        "add rd=r1, x=77\nadd rd=r2, x=1\nst rs=r1, x=r2, y=8\nld rd=r3, y=72\nhalt"
    )
    assert memory[18] == 77
    assert machine.registers[3] == 77


def test_a_load_sees_what_the_caller_did_before_asking_for_the_next_command():
    memory = np.zeros(64, np.uint8)
    machine = ScalarMachine(TINY, assemble("sync\nld rd=r1, y=4\nhalt", "text").code)
    for command in machine.run(memory):
        if command.mnemonic == "ld":
            assert command.fields == (4,)
            memory[4] = 9
    assert machine.registers[1] == 9


def test_engine_commands_have_resolved_fields():
    _, _, commands = run(
        """
        add rd=r1, x=0xFF000123
        and rd=r2, rs=r1, x=0xFFFF
        load hbm=r1, rows=r2, bytes=64, sram=7  wait(s1) signal(s2)
        matmul m=r2, mode=accumulate
        vadd bt=scalar, b=r1, cols=3
        halt
        """
    )
    load, matmul, vadd, halt = commands
    assert load.named() == {
        "hbm": 0xFF000123, "hstride": 0, "sram": 7, "sstride": 0, "rows": 0x123, "bytes": 64,
        "offset": 0, "planes": 1, "hplane": 0, "splane": 0,
    }  # fmt: skip
    assert (load.pc, load.engine, load.waits, load.signals) == (2, Engine.LOAD, ((1, 1),), (2,))
    assert (matmul.named()["m"], matmul.named()["mode"]) == (0x123, "accumulate")
    assert matmul.named()["layout"] == "normal"
    assert vadd.fields == (0, 0, 0, 0, 0xFF000123, 0, 0, 0, 3, "f32", "f32", "scalar")
    assert halt.engine == Engine.SEQUENCER


def test_what_is_yielded_of_the_sequencer():
    _, _, commands = run("add rd=r1\nadd rd=r1  signal(s1)\nbeq y=3, x=1  wait(s1)\nsync\nst\nhalt")
    assert [c.mnemonic for c in commands] == ["add", "beq", "sync", "st", "halt"]


def test_static_commands_are_made_once():
    text = "again: vnop\nadd rd=r1, rs=r1, x=1\nblt rs=r1, x=3, y=again\nhalt"
    _, _, commands = run(text)
    assert commands[0] is commands[1] is commands[2]


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("sync", Trap, "instruction 1: behind the end of the program (1 instructions)"),
        ("beq y=9", Trap, "instruction 9: behind the end of the program (1 instructions)"),
        ("ld y=2", Trap, "instruction 0 (ld): y must be aligned to 4, not 0x2"),
        ("st x=4", Trap,
         "instruction 0 (st): what begins at x must end inside its memory, not at 0x104 of 0x100"),
        ("add rd=r1, x=65536\nvmov rows=r1", Trap,
         "instruction 1 (vmov): the register given for rows must fit its 16 bits, not 65536 (r1)"),
        ("a: beq y=a", SimulationError,
         "instruction 0: no halt after 10000 scalar instructions"),
    ],
)  # fmt: skip
def test_faults(text: str, error: type, message: str):
    with pytest.raises(error) as caught:
        run(text)
    assert str(caught.value) == message


def test_illegal_instructions_trap_only_when_they_are_reached():
    code = assemble("beq y=2\nhalt\nhalt", "text").code
    bad = code[:32] + bytes(32) + code[64:]
    assert len(list(ScalarMachine(TINY, bad).run(np.zeros(64, np.uint8)))) == 1
    with pytest.raises(Trap, match=r"^instruction 1: illegal opcode 0x00$"):
        list(
            ScalarMachine(TINY, assemble("sync", "text").code + bytes(32)).run(
                np.zeros(64, np.uint8)
            )
        )
