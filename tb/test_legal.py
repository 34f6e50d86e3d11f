"""The emitted legality check, of chips of different shapes."""

from pathlib import Path

import numpy as np
import pytest

from isa.config import ChipConfig
from rtl.decode import PORTS
from rtl.legal import LegalityCheck
from tb.instructions import ENGINE_MNEMONICS
from tb.legal_stimulus import (
    ATOMS,
    ODD,
    TINY,
    Case,
    boundary_cases,
    distance_cases,
    moved_cases,
    overflow_cases,
    power_cases,
    random_cases,
    scalar_cases,
)


def _write(path: Path, cases: list[Case]) -> str:
    entries = np.zeros((len(cases), 3 + PORTS), np.int64)
    faults = np.zeros((len(cases), 2), np.int64)
    for row, (entry, fault) in enumerate(cases):
        values = (entry["engine"], entry["opcode"], entry["choices"], *entry["operands"])
        entries[row, : len(values)] = values
        faults[row] = (fault.cause, fault.where) if fault else (0, 0)
    np.savez(path, entries=entries, faults=faults)
    return str(path)


@pytest.mark.parametrize(
    ("config", "atoms", "stall"),
    [(TINY, ATOMS, 0.1), (TINY, 0x6D3A95C1, 0.0), (ODD, (1 << 32) - 9, 0.3)],
    ids=["tiny", "tiny, much memory", "odd"],
)
def test_instructions(
    bench,
    simulator: str,
    seed: int,
    tmp_path: Path,
    config: ChipConfig,
    atoms: int,
    stall: float,
) -> None:
    many = simulator == "verilator"
    cases = list(random_cases(config, atoms, 6000 if many else 600, seed))
    cases += scalar_cases(atoms, 3000 if many else 300, seed)
    cases += boundary_cases(config, atoms, 60 if many else 3, seed)
    cases += distance_cases(config, atoms, 30 if many else 3, seed)
    cases += power_cases(config, atoms, 200 if many else 10, seed)
    cases += overflow_cases(config, atoms, seed)
    if many:
        cases += moved_cases(config, atoms, tuple(ENGINE_MNEMONICS), 3, seed)
    file = _write(tmp_path / "cases.npz", cases)
    parameters = {"cases": file, "atoms": atoms, "stall": stall}
    assert bench(LegalityCheck(config), "legality", "tb.bench_legal", parameters) == 1
