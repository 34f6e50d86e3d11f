"""Campaigns of random programs on both machines; a failing one is shrunk and kept.

A seed and a chip determine a program with everything around it, so that any of a campaign can be
run again alone.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from isa.config import ChipConfig, load_config
from sim.fuzz_case import Case, compare, run_functional
from sim.fuzz_faults import CAUSES, plant
from sim.fuzz_files import write_case
from sim.fuzz_maker import ProgramMaker
from sim.fuzz_program import Program
from sim.fuzz_shrink import shrink

_TINY = load_config("tiny")
_SIMPLE = _TINY.replace(hbm="")
_SMALL = {"sram_bytes": 1 << 15, "line_bytes": 32}
CHIPS = {
    "tiny": _TINY,
    "fp8": _SIMPLE.replace(
        name="fuzz-fp8",
        element="fp8",
        **{**_SMALL, "rows": 8, "cols": 4, "lanes": 4, "axi_bytes": 16, "sram_banks": 2},
        acc_rows=64,
        queue_depth=2,
    ),
    "int8": _SIMPLE.replace(
        name="fuzz-int8",
        element="int8",
        **{**_SMALL, "rows": 4, "cols": 8, "lanes": 4, "axi_bytes": 8},
        acc_rows=128,
        load_bursts=3,
    ),
}  # every element type; R = C, R > C, R < C; lanes of all columns and of half of them
_MOST_PHASES = 8
_PLANTINGS = 200  # until a fault is one that the program reaches
Compare = Callable[[Case], str | None]


@dataclass(frozen=True)
class Failure:
    """A program on which the machines differ, small. ``file``: where it was kept."""

    case: Case
    why: str
    file: Path


def chip(name: str) -> ChipConfig:
    """One of the chips made for fuzzing, a preset, or a TOML file."""
    return CHIPS[name] if name in CHIPS else load_config(name)


def make_program(config: ChipConfig, seed: int, illegal: bool) -> tuple[Program, Case]:
    """The program of a seed, with one planted fault if it is to be ``illegal``."""
    dice = random.Random(seed)
    config = config.replace(
        hbm=dice.choice(["", config.hbm]),
        memory_latency_cycles=dice.choice([1, 7, 40, 150]),
        memory_bytes_per_cycle=dice.choice([0, 0, 5, config.axi_bytes // 2]),
    )
    program = ProgramMaker(config, seed).structure(dice.randint(1, _MOST_PHASES))
    if not illegal:
        return program, Case(config, program.lower().code(), seed)
    cause = CAUSES[seed % len(CAUSES)]
    for _ in range(_PLANTINGS):
        faulty = plant(program, config, dice, cause)
        case = Case(config, faulty.lower().code(), seed)
        if run_functional(case).end.startswith(cause.name):
            return faulty, case
    raise ValueError(f"{config.name}, seed {seed}: the program meets no fault {cause.name}")


def campaign(
    configs: list[ChipConfig],
    programs: int,
    seed: int,
    illegal: bool,
    folder: Path,
    differ: Compare = compare,
) -> Iterator[Failure | None]:
    """Run ``programs`` programs with the seeds from ``seed`` on, the chips in turns; yields after
    each: None if the machines agree. ``folder`` takes what fails, ``differ`` compares."""
    for index in range(programs):
        config = configs[index % len(configs)]
        yield try_program(config, seed + index, illegal, folder, differ)


def try_program(
    config: ChipConfig, seed: int, illegal: bool, folder: Path, differ: Compare = compare
) -> Failure | None:
    """Run one program; a failure is shrunk and written to ``folder``."""
    program, case = make_program(config, seed, illegal)
    if differ(case) is None:
        return None

    def case_of(smaller: Program) -> Case:
        return Case(case.config, smaller.lower().code(), seed)

    program = shrink(program, case.config, lambda p: differ(case_of(p)) is not None)
    case = case_of(program)
    why = differ(case) or "they agree when it is run again"
    file = folder / f"{config.name}-{'illegal-' * illegal}{seed}.s"
    write_case(case, file, f"Kept by `jalapeno fuzz`: {why}")
    return Failure(case, why, file)
