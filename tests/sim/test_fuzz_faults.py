"""Planted faults: every cause on every chip, at the boundaries too, caught where they stand."""

import random

import numpy as np
import pytest

from isa.config import HBM_ATOM_BYTES
from isa.legal import fault_of
from isa.traps import Cause
from sim.fuzz import CHIPS, make_program
from sim.fuzz_case import run_functional
from sim.fuzz_faults import CAUSES, plant
from sim.fuzz_items import is_legal
from sim.fuzz_operands import HBM_ATOMS, SCRATCH_ATOM, SOURCE_ATOM, TARGET_ATOM

EVERY = pytest.mark.parametrize("name", list(CHIPS))


def test_all_causes_but_those_of_time_and_memory():
    others = {Cause.NONE, Cause.WATCHDOG, Cause.BUS_ERROR, Cause.SRAM_ERROR}
    assert set(Cause) - set(CAUSES) == others


@EVERY
def test_the_simulator_stops_at_the_fault(name):
    for seed in range(3 * len(CAUSES)):
        program, case = make_program(CHIPS[name], seed, illegal=True)
        cause = CAUSES[seed % len(CAUSES)]
        outcome = run_functional(case)
        assert outcome.end.startswith(f"{cause.name} at instruction ")
        assert outcome.counters is None
        pc = int(outcome.end.split()[3].rstrip(","))
        faulty = [item for item in program.items() if not is_legal(item, case.config)]
        if faulty:
            assert pc == program.lower().where[faulty[0].number]


@EVERY
def test_nothing_is_written_outside_what_programs_write(name):
    """HBM but for the targets and the sequencer's words stays as it was."""
    for seed in range(len(CAUSES)):
        _, case = make_program(CHIPS[name], seed, illegal=True)
        before, after = case.memory(), run_functional(case).hbm
        kept = np.ones(HBM_ATOMS, bool)
        kept[TARGET_ATOM:] = False
        atoms = kept.repeat(HBM_ATOM_BYTES)
        assert np.array_equal(before[atoms], after[atoms])
        assert SOURCE_ATOM < TARGET_ATOM < SCRATCH_ATOM


@EVERY
def test_boundaries_are_met_exactly(name):
    """Some faults are out of range by one step: one less is legal."""
    exact = 0
    for seed in range(40):
        config = CHIPS[name]
        program, _ = make_program(config, seed, illegal=False)
        dice = random.Random(seed)
        faulty = plant(program, config, dice, Cause.OUT_OF_RANGE)
        pairs = zip(program.items(), faulty.items(), strict=True)
        ((was, now),) = [(a, b) for a, b in pairs if a != b]
        exact += _one_step_less_is_legal(was, now, config)
    assert exact >= 5


def _one_step_less_is_legal(was, now, config) -> bool:
    changed = [f for f in now.op.spec.uses if was.op.get(f) != now.op.get(f)]
    if len(changed) != 1 or not isinstance(now.op.get(changed[0]), int):
        return False
    names = now.op.spec.format.slots if now.engine else ["x", "y"]
    step = now.places[changed[0]].step if changed[0] in now.places else 1
    values = [now.op.get(name) if name in now.op.spec.uses else 0 for name in names]
    values[list(names).index(changed[0])] -= step
    return fault_of(config, now.op.mnemonic, tuple(values), HBM_ATOMS) is None
