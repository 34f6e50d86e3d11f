"""Loops over layers in programs: which are taken for such, and which are not."""

import pytest

from isa.assembler import assemble
from isa.config import load_config
from sim.check import check_image
from sim.checker import CheckError
from sim.repeats import Repeat, find_repeats
from sim.scalar import ScalarMachine

TINY = load_config("tiny")
PARTS = {
    "before": "add rd=r13, rs=r0, x=100",
    "head": "add rd=r2, rs=r1, x=3",
    "body": "",
    "place": "add rd=r5, rs=r13, x=2000",
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
        store hbm=r5, sram=4096, rows=1, bytes=64
        {part["inner"]}
        sync
        {part["tail"]}
        blt rs=r13, {part["limit"]}, y=begin
        {part["behind"]}
        halt
    """


def repeats(**parts: str) -> list[Repeat]:
    return find_repeats(assemble(text(**parts), "test", TINY).ops())


def test_a_loop_over_layers() -> None:
    (repeat,) = repeats()
    ops = assemble(text(), "test", TINY).ops()
    assert [ops[i].mnemonic for i in (repeat.before, repeat.sync)] == ["sync", "sync"]
    assert (repeat.register, repeat.start, repeat.tail, repeat.limit) == (13, 100, 7, 150)
    assert ops[repeat.branch].mnemonic == "blt"
    assert sorted(ops[i].mnemonic for i in repeat.walking) == ["load", "store"]
    assert repeat.kept == set()


@pytest.mark.parametrize("limit", [100, 111, 112, 122, 133, 150, 1000])
def test_iterations_that_are_left(limit: int) -> None:
    """As many as the sequencer makes."""
    image = assemble(text(limit=f"x={limit}"), "test", TINY)
    (repeat,) = find_repeats(image.ops())
    machine, seen = ScalarMachine(TINY, image.code), []
    for command in machine.run(image.memory()):
        if command.pc == repeat.sync:
            seen.append(repeat.left(machine.registers[13], 11))
    assert seen == list(range(len(seen) - 1, -1, -1))
    assert len(seen) == max(1, -(-(limit - 100) // 11))


INNER = """
    add rd=r6, rs=r0, x=0
again:
    add rd=r6, rs=r6, x=1
    add rd=r13, rs=r13, x=1
    load hbm=r13, sram=512, rows=1, bytes=64
    add rd=r13, rs=r13, x=0xFFFFFFFF
    blt rs=r6, x=3, y=again"""


def test_inner_loops_may_be_there() -> None:
    (repeat,) = repeats(inner=INNER)
    assert len(repeat.walking) == 3


@pytest.mark.parametrize(
    ("parts", "kept"),
    [
        ({"body": "add rd=r7, rs=r7, x=1"}, {7}),  # counts
        ({"body": "add rd=r8, rs=r7, x=1\nadd rd=r7, rs=r0, x=1"}, {7}),
        ({"body": "add rd=r7, rs=r0, x=1\nadd rd=r7, rs=r7, x=1"}, set()),
        ({"body": "beq rs=r1, x=9, y=on\nadd rd=r6, rs=r0, x=1\non:\nadd rd=r8, rs=r6, x=1"}, {6}),
        ({"inner": INNER.replace("add rd=r6, rs=r0, x=0", "")}, {6}),
    ],
    ids=str,
)
def test_what_an_iteration_leaves_to_the_next(parts: dict[str, str], kept: set[int]) -> None:
    (repeat,) = repeats(**parts)
    assert repeat.kept == kept


@pytest.mark.parametrize(
    "parts",
    [
        {"before": "lnop\nadd rd=r13, rs=r0, x=100"},  # engines may still be at work
        {"before": "add rd=r13, rs=r1, x=100"},
        {"before": "add rd=r13, rs=r0, x=100\nlnop"},
        {"head": "add rd=r2, rs=r13, x=3\nmul rd=r2, rs=r2, x=2"},
        {"head": "add rd=r2, rs=r13, x=r13"},
        {"head": "sub rd=r2, rs=r1, x=r13"},
        {"head": "mul rd=r13, rs=r13, x=1"},
        {"head": "add rd=r13, rs=r1, x=3"},
        {"body": "load hbm=0, sram=r13, rows=1, bytes=64"},
        {"body": "load hbm=0, sram=0, rows=r13, bytes=64"},
        {"body": "ld rd=r6, x=r13, y=0"},
        {"body": "beq rs=r13, x=0, y=begin"},
        {"body": "add rd=r6, rs=r13, x=1\nbeq rs=r1, x=r6, y=begin"},
        {"body": "load hbm=r6, sram=0, rows=1, bytes=64\nadd rd=r6, rs=r13, x=1"},  # of the last
        {"body": "st rs=r1, x=0, y=0"},
        {"inner": "beq rs=r1, x=3, y=out", "behind": "out:"},
        {"body": "in:", "behind": "beq rs=r1, x=3, y=in"},
        {"tail": "sub rd=r13, rs=r13, x=1"},
        {"tail": "lnop\nadd rd=r13, rs=r13, x=7"},
        {"limit": "x=r1"},
    ],
    ids=str,
)
def test_what_is_no_such_loop(parts: dict[str, str]) -> None:
    assert repeats(**parts) == []


def checked(**parts: str) -> int:
    """Commands that the checker followed, of 60 iterations."""
    image = assemble(text(limit="x=760", **parts), "test", TINY)
    image.hbm_bytes = 1 << 20
    return check_image(image)


def test_the_checker_follows_the_first_and_the_last() -> None:
    each = 3  # commands that it sees: load, store, sync
    assert checked() == 2 + 2 * each
    # One that counts goes its own way each time.
    assert checked(body="add rd=r7, rs=r7, x=1") == 2 + 60 * each


def test_a_fault_of_a_later_iteration_is_found() -> None:
    counted = "add rd=r7, rs=r7, x=12800\nload hbm=0, sram=r7, rows=1, bytes=64"
    with pytest.raises(CheckError, match="sram"):
        checked(body=counted)
    with pytest.raises(CheckError, match="hbm"):  # the last layer's
        checked(place="add rd=r5, rs=r13, x=16000")
