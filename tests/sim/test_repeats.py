"""Loops over layers in programs: which are taken for such, and which are not."""

import pytest

from isa.assembler import assemble
from isa.config import load_config
from sim.repeats import find_repeats
from sim.scalar import ScalarMachine

TINY = load_config("tiny")
PARTS = {
    "before": "add rd=r13, rs=r0, x=100",
    "head": "add rd=r2, rs=r1, x=3",
    "body": "",
    "place": "add rd=r5, rs=r1, x=r13",
    "inner": "",
    "tail": "add rd=r13, rs=r13, x=7",
    "limit": "x=150",
    "behind": "",
}


def text(**parts: str) -> str:
    part = PARTS | parts
    return f"""
        add rd=r1, rs=r0, x=2
        sync
        {part["before"]}
    begin:
        {part["head"]}
        load hbm=r13, sram=0, rows=1, bytes=64
        add rd=r13, rs=r13, x=4
        {part["body"]}
        {part["place"]}
        store hbm=r5, sram=0, rows=1, bytes=64
        {part["inner"]}
        sync
        {part["tail"]}
        blt rs=r13, {part["limit"]}, y=begin
        {part["behind"]}
        halt
    """


def repeats(**parts: str):
    return find_repeats(assemble(text(**parts), "test", TINY).ops())


def test_a_loop_over_layers() -> None:
    ((sync, repeat),) = repeats().items()
    ops = assemble(text(), "test", TINY).ops()
    assert ops[sync].mnemonic == "sync"
    assert (repeat.register, repeat.step, repeat.tail, repeat.limit) == (13, 11, 7, 150)
    assert ops[repeat.branch].mnemonic == "blt"


@pytest.mark.parametrize("limit", [100, 111, 112, 122, 133, 150, 1000])
def test_iterations_that_are_left(limit: int) -> None:
    """As many as the sequencer makes."""
    image = assemble(text(limit=f"x={limit}"), "test", TINY)
    (repeat,) = find_repeats(image.ops()).values()
    machine, seen = ScalarMachine(TINY, image.code), []
    for command in machine.run(image.memory()):
        if command.pc == repeat.sync:
            seen.append(repeat.left(machine.registers[13]))
    assert seen == list(range(len(seen) - 1, -1, -1))
    assert len(seen) == max(1, -(-(limit - 100) // 11))


def test_inner_loops_may_be_there() -> None:
    inner = """
        add rd=r6, rs=r0, x=0
    again:
        add rd=r6, rs=r6, x=1
        blt rs=r6, x=3, y=again"""
    # The inner loop's register is set before it is read in each iteration.
    place = "add rd=r5, rs=r1, x=64"  # a sum with r13 would still be there at the inner branch
    assert len(repeats(inner=inner, place=place)) == 1
    assert repeats(inner=inner) == {}


@pytest.mark.parametrize(
    "parts",
    [
        {"before": "lnop\nadd rd=r13, rs=r0, x=100"},  # engines may still be at work
        {"head": "add rd=r2, rs=r13, x=3\nmul rd=r2, rs=r2, x=2"},
        {"head": "mul rd=r13, rs=r13, x=1"},
        {"head": "add rd=r13, rs=r1, x=3"},
        {"body": "load hbm=0, sram=r13, rows=1, bytes=64"},
        {"body": "load hbm=0, sram=0, rows=r13, bytes=64"},
        {"body": "ld rd=r6, x=r13, y=0"},
        {"body": "beq rs=r13, x=0, y=begin"},
        {"body": "add rd=r7, rs=r7, x=1"},  # counts
        {"body": "add rd=r8, rs=r7, x=1\nadd rd=r7, rs=r0, x=1"},  # the last iteration's
        {"body": "st rs=r1, x=0, y=0"},
        {"body": "beq rs=r1, x=9, y=over\nadd rd=r6, rs=r0, x=1\nover:\nadd rd=r8, rs=r6, x=1"},
        {"body": "back:\nadd rd=r13, rs=r13, x=1\nbeq rs=r1, x=3, y=back"},  # as often as it likes
        {"inner": "beq rs=r1, x=3, y=out", "behind": "out:"},
        {"body": "in:", "behind": "beq rs=r1, x=3, y=in"},
        {"tail": "sub rd=r13, rs=r13, x=1"},
        {"tail": "lnop\nadd rd=r13, rs=r13, x=7"},
        {"tail": "add rd=r13, rs=r13, x=0xFFFFFFFC"},  # stays where it is
        {"limit": "x=r1"},
    ],
    ids=str,
)
def test_what_is_no_such_loop(parts: dict[str, str]) -> None:
    assert repeats(**parts) == {}
