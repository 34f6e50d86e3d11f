"""One proof with its mutants: what was asked of the solvers and what they said."""

import os
from dataclasses import dataclass
from pathlib import Path

from formal.proof import Proof
from formal.solve import Model


@dataclass(frozen=True)
class Outcome:
    """``faults``: sentences, none if all is well; ``unbounded``: None if nobody could tell;
    ``seconds`` of processor time."""

    proof: Proof
    unbounded: bool | None
    seconds: float
    refuted: tuple[int, ...]  # cycle in which each mutant refuted shows its fault
    faults: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, str, str, str, str]:
        """Name, method, seconds, mutants refuted of all, and in which cycles."""
        method = "unbounded (PDR)" if self.unbounded else f"{self.proof.depth} cycles"
        if self.proof.unbounded and self.unbounded is None:
            method += " (no ABC)"
        mutants = f"{len(self.refuted)}/{len(self.proof.mutants)}"
        where = f"in cycle {', '.join(map(str, self.refuted))}"
        return self.proof.name, method, f"{self.seconds:.1f}", mutants, where


def run(proof: Proof, folder: Path) -> Outcome:
    """Prove to the bound, beyond it if the proof claims that, and refute each mutant."""
    start = _seconds()
    try:
        unbounded, refuted, faults = _ask(proof, folder)
    except RuntimeError as error:  # of a solver: out of time, or missing
        unbounded, refuted, faults = None, [], [str(error)]
    return Outcome(proof, unbounded, _seconds() - start, tuple(refuted), tuple(faults))


def _seconds() -> float:
    """Processor time of this process and of the solvers that have ended."""
    return sum(os.times()[:4])


def _ask(proof: Proof, folder: Path) -> tuple[bool | None, list[int], list[str]]:
    """`unbounded`, `refuted` and `faults` of the outcome."""
    faults: list[str] = []
    refuted: list[int] = []
    model = Model(proof.rtlil(), folder / "unit")
    answer = model.check(proof.depth)
    if not answer.holds:
        faults.append(f"cycle {answer.step}: {answer.where} (trace in {folder / 'unit'})")
    faults += [f"never reached: {where}" for where in model.unreached(proof.depth)]
    unbounded = model.closes() if proof.unbounded else None
    if unbounded is False:
        faults.append("the claims fail beyond the bound")
    for index, mutant in enumerate(proof.mutants):
        answer = Model(proof.rtlil(mutant), folder / f"mutant_{index}").check(proof.depth)
        if answer.holds:
            faults.append(f"the mutant {mutant.new!r} is not refuted")
        else:
            refuted.append(answer.step)
    return unbounded, refuted, faults
