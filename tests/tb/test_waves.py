"""Dumps of both simulators: fields of structures and values of enumerations have their names."""

from pathlib import Path

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from isa.table import BY_MNEMONIC, OPCODE_BITS
from rtl.emit import emit
from tb.attributes import read_attributes
from tb.build import build
from tb.runner import run
from tb.waves import name_values


class Phase(enum.Enum, shape=2):
    """What the little design is doing."""

    EMPTY = 0
    FILLING = 1
    FULL = 2


PLACE = data.StructLayout({"row": 4, "opcode": OPCODE_BITS})


class Little(wiring.Component):
    """Members: `place` a structure; `phase` follows its row, in a module of its own."""

    place: In(PLACE)
    phase: Out(Phase)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.inner = inner = Module()
        current, here = Signal(Phase), Signal(PLACE)
        m.d.comb += here.eq(self.place)
        with inner.If(here.row == 0):
            inner.d.sync += current.eq(Phase.EMPTY)
        with inner.Elif(here.row == 15):
            inner.d.sync += current.eq(Phase.FULL)
        with inner.Else():
            inner.d.sync += current.eq(Phase.FILLING)
        m.d.comb += self.phase.eq(current)
        return m


def test_attributes_are_all_that_is_added() -> None:
    plain, attributed = emit(Little(), "little"), emit(Little(), "little", attributes=True)
    facts = read_attributes(attributed)
    assert facts.instances["little"] == {"inner": "little.inner"}
    assert facts.enums["little.inner"]["current"] == {0: "EMPTY", 1: "FILLING", 2: "FULL"}
    lines = plain.splitlines()
    number = next(i for i, line in enumerate(lines, 1) if line.lstrip().startswith("always_ff"))
    assert facts.places[number].startswith(__file__)
    assert max(facts.places) <= len(lines)


@pytest.fixture
def dump(simulator: str) -> str:
    """What a run leaves in which row 0, 3 and 15 were driven."""
    target = build(Little(), "little", simulator, waves=True)
    run(target, "tests.tb.bench_little")
    newest = max(target.folder.glob("run-*/dump.vcd"), key=lambda path: path.stat().st_mtime_ns)
    return newest.read_text()


def test_dump_is_readable(dump: str) -> None:
    names = [line.split()[4].lstrip("\\") for line in dump.splitlines() if "$var" in line]
    assert {"place.row", "place.opcode", "place.opcode_name", "current_name"} <= {*names}
    values = [line.split()[0] for line in dump.splitlines() if line.startswith("s")]
    assert {"sEMPTY", "sFILLING", "sFULL", "smatmul"} <= {*values}


def test_values_without_a_name_stay_numbers(tmp_path: Path) -> None:
    path, code = tmp_path / "dump.vcd", BY_MNEMONIC["matmul"].opcode
    path.write_text(
        "$scope module little $end\n$var wire 2 ! phase [1:0] $end\n"
        f"$var wire {OPCODE_BITS} # x.opcode $end\n$upscope $end\n$enddefinitions $end\n"
        f"#0\nb10 !\nb{code:b} #\n#5\nb11 !\nbx #\n"
    )
    facts = read_attributes(emit(Little(), "little", attributes=True))
    assert name_values(path, "little", facts) == 2
    text = path.read_text().splitlines()
    assert [line for line in text if line.startswith("s")] == [
        "sFULL names1",
        "smatmul names2",
        "s3 names1",
        "sX names2",
    ]
