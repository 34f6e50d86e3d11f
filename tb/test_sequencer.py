"""The emitted sequencer, with the legality of every instruction."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from isa.config import ChipConfig
from isa.program import Op, Reg, encode_program
from isa.table import SIGNALS, WAITS
from isa.traps import Cause
from rtl.sequencer import Sequencer
from sim.fuzz import CHIPS, make_program
from sim.fuzz_case import Case
from sim.fuzz_faults import CAUSES

_LEGAL = 3  # programs in a round


def _every_pattern() -> list[Op]:
    """Instructions of the sequencer with every number of waits and of signals."""
    ops: list[Op] = []
    for waits, signals in itertools.product(range(WAITS + 1), range(SIGNALS + 1)):
        ops += [Op("mnop", signals=(1, 2, 3)), Op("mnop", signals=(2, 3))]
        own = ((1, 1), (2, 2), (3, 2))[:waits]
        fields = {"rd": Reg(1), "rs": Reg(1), "x": 1}
        ops.append(Op("add", fields, waits=own, signals=(4, 5, 4)[:signals]))
    return [*ops, Op("halt")]


def _write_cases(config: ChipConfig, folder: Path, seed: int, rounds: int) -> list[str]:
    """Files: in each round legal programs, and one that ends in each kind of fault but the one of
    65,535 signals; one with every pattern of waits and signals."""
    kinds = [(seed * 100 + index, False) for index in range(rounds * _LEGAL)]
    numbers = range(seed * rounds * len(CAUSES), (seed + 1) * rounds * len(CAUSES))
    kinds += [(n, True) for n in numbers if CAUSES[n % len(CAUSES)] != Cause.SEMAPHORE_OVERFLOW]
    cases = [make_program(config, number, illegal)[1] for number, illegal in kinds]
    cases.append(Case(config, encode_program(_every_pattern()), seed))
    paths = []
    for index, case in enumerate(cases):
        paths.append(str(folder / f"{index}.npz"))
        np.savez(paths[-1], code=np.frombuffer(case.code, np.uint8), memory=case.memory())
    return paths


@pytest.mark.parametrize(("chip", "stall"), [("tiny", 0.1), ("int8", 0.5)])
def test_random_programs(
    bench, simulator: str, seed: int, tmp_path: Path, chip: str, stall: float
) -> None:
    config = CHIPS[chip]
    cases = _write_cases(config, tmp_path, seed, rounds=8 if simulator == "verilator" else 1)
    parameters = {"config": config.to_dict(), "cases": cases, "stall": stall}
    assert bench(Sequencer(config), "sequencer", "tb.bench_sequencer", parameters) == 3
