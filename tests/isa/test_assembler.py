"""Assembly text, there and back."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from isa.assembler import AssemblyError, assemble, assemble_file, disassemble, random_numbers
from isa.config import load_config
from isa.image import ProgramImage
from isa.program import Op, Reg, encode
from isa.syntax import format_op, parse_op
from tests.isa.operations import operations
from tests.support import ROOT

PROGRAMS = sorted((ROOT / "programs").glob("*.s"))


@given(operations())
def test_every_instruction_round_trips(op: Op):
    assert encode(parse_op(format_op(op), {})) == encode(op)


@given(st.lists(operations(), min_size=1, max_size=20))
def test_programs_round_trip_with_labels(ops: list[Op]):
    image = ProgramImage.from_ops(load_config("tiny"), ops, code_base=5)
    again = assemble(disassemble(image), "text")
    assert again.code == image.code
    assert again.code_base == 5


@given(st.integers(0, (1 << 32) - 1))
def test_every_float_constant_keeps_its_bits(bits: int):
    op = Op("vmul", {"b": bits, "bt": "scalar"})
    assert parse_op(format_op(op), {}).get("b") == bits


@pytest.mark.parametrize("path", PROGRAMS, ids=lambda path: path.stem)
def test_programs_of_the_repository_round_trip(path):
    image = assemble_file(path)
    assert assemble(disassemble(image), "text").code == image.code


def test_there_are_programs():
    assert len(PROGRAMS) >= 5


def test_an_instruction_with_everything():
    op = parse_op("matmul acc=r3, a=0x40, m=5, mode=accumulate  wait(s1, s2*3) signal(s4,s5)", {})
    assert op.get("acc") == Reg(3)
    assert (op.get("a"), op.get("m"), op.get("k")) == (0x40, 5, 0)
    assert (op.get("mode"), op.get("layout")) == ("accumulate", "normal")
    assert (op.waits, op.signals) == (((1, 1), (2, 3)), (4, 5))


def test_directives_place_data_and_code():
    image = assemble(
        """
        .config small
        .equ HERE 0x20      # names may stand for numbers
        .u32 0 1, 0xFFFFFFFF
        .f32 HERE 1.5 -inf 3e40
        .bf16 0x40 1 1.00390625 -0.0
        .random 0x80 bf16 9 7 2.5
        .memory 4096
        start: beq x=HERE, y=end
        blt y=start
        end: halt
        """,
        "text",
    )
    assert image.config.name == "small"
    assert image.hbm[:8].view(np.uint32).tolist() == [1, 0xFFFFFFFF]
    assert image.hbm[0x20:0x2C].view(np.float32).tolist() == [1.5, -np.inf, np.inf]
    assert image.hbm[0x40:0x46].view(np.uint16).tolist() == [0x3F80, 0x3F80, 0x8000]
    assert (image.hbm.size, image.code_base, image.hbm_bytes) == (0x80 + 18, 3, 4096)
    assert [op.get("y") for op in image.ops()[:2]] == [2, 0]


def test_a_configuration_may_be_given_from_outside():
    assert assemble("halt", "text", load_config("edge")).config.name == "edge"


def test_random_numbers_are_the_same_everywhere_and_about_normal():
    assert random_numbers(3, 5).tolist() == [1.8125, -0.015625, -0.59765625]
    many = random_numbers(10_000, 1)
    assert abs(many.mean()) < 0.05
    assert abs(many.std() - 1) < 0.05


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("halt\nhlat", "x.s line 2: unknown instruction 'hlat'"),
        ("vadd dst", "x.s line 1: vadd: expected FIELD=VALUE, not 'dst'"),
        (
            "vadd foo=1",
            "x.s line 1: vadd: no field 'foo' (fields: dst, dstride, a, astride, b, "
            "bstride, rep, rows, cols, dt, at, bt)",
        ),
        ("vadd dst=1, dst=2", "x.s line 1: vadd: field 'dst' is given twice"),
        ("vadd dst=zz", "x.s line 1: vadd: dst: expected a number or a defined name, not 'zz'"),
        ("vadd dst=r16", "x.s line 1: vadd: dst: register must be r0 … r15, not r16"),
        ("vadd cols=0x100000", "x.s line 1: vadd: cols must fit 20 bits, not 1048576"),
        ("halt wait(s1*9)", "x.s line 1: halt: a wait's count must be 1 … 3, not 9"),
        ("halt wait(1)", "x.s line 1: expected a semaphore s0 … s31 or s0*COUNT, not '1'"),
        ("halt signal(s1*2)", "x.s line 1: signal raises by one: expected s1, not 's1*2'"),
        ("a: a: halt", "x.s line 1: unknown instruction 'a:'"),
        ("a:\na:", "x.s line 2: 'a' is defined twice"),
        ("r1: halt", "x.s line 1: a name must be a word and no register, not 'r1'"),
        (
            ".foo 1",
            "x.s line 1: unknown directive '.foo' (directives: .config, .equ, .code, "
            ".memory, .u32, .f32, .bf16, .random)",
        ),
        (".code 3", "x.s line 1: the code's address must be a multiple of 64"),
        (".u32 0 x", "x.s line 1: expected a number or a defined name, not 'x'"),
        (".u32 0 -1", "x.s line 1: expected a number of 32 bits, not '-1'"),
        (".f32 0 x", "x.s line 1: could not convert string to float: 'x'"),
        (".equ", "x.s line 1: expected .equ NAME VALUE, not ''"),
        (
            ".random 0 f64 1 2",
            "x.s line 1: expected .random ADDRESS f32|bf16|i8|e4m3|e5m2 COUNT SEED [SCALE]",
        ),
        (".u32 0xFFFFFFFF 1", "x.s line 1: data must lie below 0x10000000, not at 0xffffffff"),
        (".u32 64 1\n.code 64\nhalt", "x.s: the code at 0x40 overlaps data"),
        (
            ".config nope",
            "x.s: nope: no such configuration file, nor a preset (tiny, small, edge, server)",
        ),
    ],
)
def test_errors_name_file_and_line(text: str, message: str):
    with pytest.raises(AssemblyError) as caught:
        assemble(text, "x.s")
    assert str(caught.value) == message


def test_missing_and_binary_files(tmp_path):
    with pytest.raises(AssemblyError, match=r"nothing\.s: no such file$"):
        assemble_file(tmp_path / "nothing.s")
    (tmp_path / "binary.s").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(AssemblyError, match=r"binary\.s: cannot be read as text: "):
        assemble_file(tmp_path / "binary.s")


def test_listing_shows_nodes_and_labels():
    ops = [Op("sync"), Op("blt", {"rs": Reg(1), "x": 4, "y": 0}), Op("halt")]
    image = ProgramImage.from_ops(load_config("tiny"), ops, nodes=[(0, ""), (1, 'node "Add_3"')])
    assert disassemble(image).splitlines() == [
        ".config tiny",
        ".code 0x0",
        "L0:",
        "    sync",
        '# node "Add_3"',
        "    blt rs=r1, x=4, y=L0",
        "    halt",
    ]
