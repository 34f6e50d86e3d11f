"""The mutation tool: planting, proofs, children that end in every way, and the report."""

import os
import subprocess
import time
from pathlib import Path

import pytest
from amaranth.hdl import Cat, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from rtl.emit import emit
from tb.build import build
from tb.mutate_design import SELECT, Mutant, equivalent, list_mutants, plant
from tb.mutate_report import MARK, markdown, print_summary, score, update_document, write_report
from tb.mutate_run import Session, in_children
from tb.mutate_units import UNITS
from tests.support import ROOT


class Adder(wiring.Component):
    """o = a + b one cycle later; `same` is a, said in a roundabout way."""

    a: In(8)
    b: In(8)
    o: Out(8)
    same: Out(8)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.o.eq(self.a + self.b)
        m.d.comb += self.same.eq(Cat(self.a[:4], (self.a | self.a)[4:]))
        return m


DESIGN = emit(Adder(), "adder")


def test_mutants_are_chosen_by_a_seed():
    mutants = list_mutants(DESIGN, 12, seed=3)
    assert [mutant.index for mutant in mutants] == list(range(1, 13))
    assert mutants == list_mutants(DESIGN, 12, seed=3)
    assert mutants != list_mutants(DESIGN, 12, seed=4)
    assert {mutant.option("module") for mutant in mutants} == {"adder"}
    assert all("adder: `" in mutant.describe(DESIGN) for mutant in mutants)


def _outputs(text: str, tmp_path, plusarg: str) -> str:
    """What a planted adder gives for a few inputs, on Icarus."""
    bench = """
    module bench;
      reg clk = 0, rst = 0; reg [7:0] a, b; wire [7:0] o, same; integer i;
      adder dut(.clk(clk), .rst(rst), .a(a), .b(b), .o(o), .same(same));
      initial begin
        for (i = 0; i < 64; i = i + 1) begin
          a = 37 * i; b = 7 * i * i + i / 4; #1 clk = 1; #1 clk = 0; $display("%d %d", o, same);
        end
      end
    endmodule
    """
    (tmp_path / "planted.sv").write_text(text + bench)
    binary = str(tmp_path / "planted")
    subprocess.run(["iverilog", "-g2012", "-o", binary, f"{binary}.sv"], check=True)
    return subprocess.run([binary, plusarg], capture_output=True, text=True, check=True).stdout


def test_a_planted_design_is_the_original_until_a_mutant_is_chosen(tmp_path):
    mutants = list_mutants(DESIGN, 10, seed=1)
    planted = plant(DESIGN, "adder", mutants)
    right = _outputs(DESIGN, tmp_path, "+none")
    assert _outputs(planted, tmp_path, "+none") == right
    proven = equivalent(DESIGN, "adder", mutants)
    for mutant in mutants:
        changes = _outputs(planted, tmp_path, f"+mutant={mutant.index}") != right
        assert changes != (mutant in proven), mutant.command


def test_what_changes_nothing_is_proven_and_nothing_else():
    first, second, *_ = list_mutants(DESIGN, 4, seed=1)
    harmless = Mutant(1, first.command.replace(f"-mode {first.option('mode')}", "-mode none"))
    inverted = Mutant(2, second.command.replace(f"-mode {second.option('mode')}", "-mode inv"))
    assert equivalent(DESIGN, "adder", [harmless, inverted]) == [harmless]
    assert equivalent(DESIGN, "adder", []) == []


def test_verilator_takes_planted_designs(simulator, monkeypatch):
    planted = plant(DESIGN, "adder", list_mutants(DESIGN, 10, seed=1))
    monkeypatch.setattr("tb.build.emit", lambda *_, **__: planted)
    assert build(Adder(), "adder", simulator).folder.exists()


def test_reject_a_design_without_the_top():
    with pytest.raises(ValueError, match="the planted design must have a module other"):
        plant(DESIGN, "other", list_mutants(DESIGN, 1, seed=1))


def test_children_pass_fail_crash_and_hang(tmp_path):
    def hang() -> None:
        """As a simulator that does not end: in a process group of its own."""
        simulator = subprocess.Popen(["sleep", "60"], process_group=0)
        (tmp_path / "pid").write_text(str(simulator.pid))
        simulator.wait()

    jobs = [
        ("ends", Session),
        ("crashes", lambda: os._exit(3)),
        ("raises", lambda: 1 // 0),
        ("hangs", hang),
    ]
    start = time.monotonic()
    results = dict(in_children(jobs, limit=3, workers=2))
    assert time.monotonic() - start < 30
    assert isinstance(results.pop("ends"), Session)
    assert results == {"crashes": "crash", "raises": "crash", "hangs": "timeout"}
    time.sleep(0.2)
    state = Path("/proc", (tmp_path / "pid").read_text(), "stat")
    assert not state.exists() or state.read_text().split()[2] == "Z"


def _results(*verdicts: str) -> list[dict]:
    return [
        {"unit": "u", "verdict": verdict, "by": "", "what": f"m: `a | b`, {i}", "command": ""}
        for i, verdict in enumerate(verdicts)
    ]


def test_report(tmp_path, capsys):
    results = _results("caught", "timeout", "equivalent", "survived")
    assert score(results) == (2, 3)
    assert print_summary(results) == 1
    assert print_summary(_results(*["caught"] * 19, "survived")) == 0
    assert "66.7%" in capsys.readouterr().out
    write_report(results, tmp_path)
    text = (tmp_path / "mutation.md").read_text()
    assert text == markdown(results)
    assert "| u | 4 | 2 | 1 | 1 |" in text
    assert "| u | m: `a \\| b`, 3 |  |" in text


def test_documents_keep_what_was_said_of_survivors(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{MARK}\n{MARK}\nafter\n")
    update_document(_results("survived", "survived"), page)
    explained = page.read_text().replace("`, 1 |  |", "`, 1 | too large for a bench |")
    assert explained != page.read_text()
    page.write_text(explained)
    update_document(_results("caught", "survived"), page)
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert text.count("too large for a bench") == 1
    assert "`, 0 |" not in text
    (tmp_path / "empty.md").write_text("")
    with pytest.raises(ValueError, match="expected two lines <!-- made by make mutate -->, not 0"):
        update_document([], tmp_path / "empty.md")


def test_enough_mutants_of_benches_that_exist():
    assert sum(unit.mutants for unit in UNITS) >= 300
    for unit in UNITS:
        for test in unit.tests:
            assert (ROOT / test).exists(), test
    assert SELECT not in DESIGN
