"""`make mutate`: plants bugs in every unit's design and counts how many the benches notice.

    python -m tb.mutate [--unit dma] [--scale 0.5] [--jobs 2] [--seed 1]

Results are kept by content in the build folder, so that an interrupted run goes on where it was.
The summary goes to the terminal, everything to mutation.json and mutation.md there.
"""

import argparse
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

from sim.builds import ROOT, build_root, digest
from tb.mutate_design import Mutant, equivalent, list_mutants, plant
from tb.mutate_report import print_summary, split_document, update_document, write_report
from tb.mutate_run import (
    Built,
    Session,
    build_planted,
    collect,
    in_children,
    run_mutant,
    time_benches,
)
from tb.mutate_units import UNITS, Unit

_SLOWER = 5  # a mutant may take so many times the benches' own time, and
_MARGIN_SECONDS = 20


@dataclass(frozen=True)
class Result:
    """One mutant. ``verdict``: caught, timeout (caught as well), equivalent (proven), survived;
    ``by``: the test that caught it."""

    unit: str
    verdict: str
    by: str
    what: str
    command: str


@dataclass(frozen=True)
class Design:
    """A planted design: its top module, its tests, the fastest first, and what they build."""

    design: str
    top: str
    tests: tuple[str, ...]
    built: tuple[Built, ...]
    mutants: tuple[Mutant, ...]
    seconds: float


def mutate_unit(unit: Unit, count: int, seed: int, jobs: int, known: Path) -> Iterator[Result]:
    """Results of a unit's mutants, as they come."""
    for design in _designs(unit, count, seed):
        benches = _benches(unit)
        keys = {m: digest([design.design, m.command, benches, str(seed)]) for m in design.mutants}
        waiting = []
        for mutant, key in keys.items():
            if (known / key).exists():
                yield Result(**json.loads((known / key).read_text()))
            else:
                work = partial(run_mutant, unit, design.tests, design.built, mutant.index, seed)
                waiting.append((mutant, work))
        limit = _SLOWER * design.seconds + _MARGIN_SECONDS
        unseen = []
        for mutant, session in in_children(waiting, limit, jobs):
            by = session.failed if isinstance(session, Session) else session
            if by:
                verdict = "timeout" if by == "timeout" else "caught"
                yield _keep(known / keys[mutant], unit, design, mutant, verdict, by)
            else:
                unseen.append(mutant)
        proven = _proven(design, unseen, jobs)
        for mutant in unseen:
            verdict = "equivalent" if mutant in proven else "survived"
            yield _keep(known / keys[mutant], unit, design, mutant, verdict)
        for entry in design.built:
            for folder in entry.build.folder.glob("run-*"):  # failed runs keep theirs
                shutil.rmtree(folder)


def _proven(design: Design, mutants: list[Mutant], jobs: int) -> set[Mutant]:
    """Those proven equivalent, by as many yosys at a time as there are jobs."""
    with ThreadPoolExecutor(jobs) as pool:
        shares = [mutants[start::jobs] for start in range(jobs)]
        proven = pool.map(partial(equivalent, design.design, design.top), shares)
        return {mutant for share in proven for mutant in share}


def _keep(
    path: Path, unit: Unit, design: Design, mutant: Mutant, verdict: str, by: str = ""
) -> Result:
    result = Result(unit.name, verdict, by, mutant.describe(design.design), mutant.command)
    path.write_text(json.dumps(asdict(result)))
    return result


def _designs(unit: Unit, count: int, seed: int) -> Iterator[Design]:
    """The designs that a unit's tests build, with mutants planted and nothing broken."""
    found = collect(unit, seed).built
    originals = {entry.design: entry.top for entry in found}
    share = -(-count // len(originals))
    for design, top in originals.items():
        tests = sorted({entry.test for entry in found if entry.design == design})
        mutants = list_mutants(design, share, seed, unit.modules)
        built = build_planted(unit, tests, {design: plant(design, top, mutants)}, seed).built
        seconds = time_benches(unit, tests, built, seed).seconds
        tests.sort(key=lambda test: seconds[test])
        yield Design(design, top, tuple(tests), tuple(built), tuple(mutants), sum(seconds.values()))


def _benches(unit: Unit) -> str:
    """All that could change a verdict beside the design: the unit's tests, and of `tb` what they
    name (`tb.agents`), directly or not."""
    known: dict[Path, str] = {}
    waiting = [ROOT / "tb" / "conftest.py", *(ROOT / test for test in unit.tests)]
    while waiting:
        path = waiting.pop()
        if path not in known and path.exists():
            known[path] = path.read_text()
            names = re.findall(r"\btb\.(\w+)", known[path])
            waiting += [ROOT / "tb" / f"{name}.py" for name in names]
    return digest([known[path] for path in sorted(known)])


def main() -> None:
    """Command line; exit status 1 when less than the wanted share of the mutants is noticed."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m tb.mutate")
    names = [unit.name for unit in UNITS]
    parser.add_argument("--unit", action="append", choices=names, help="only this one; repeatable")
    parser.add_argument("--scale", type=float, default=1.0, help="times the number of mutants")
    parser.add_argument("--docs", type=Path, help="document whose tables are replaced")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seed", type=int, default=1, help="of the choice and of the benches")
    options = parser.parse_args()
    if options.docs:
        split_document(options.docs)  # says at once what it would say in the end
    # Builds, coverage and results of mutants stay apart from those of the design.
    os.environ["JALAPENO_BUILD"] = str(build_root() / "mutate")
    known = build_root() / "results"
    known.mkdir(parents=True, exist_ok=True)
    results = []
    for unit in UNITS:
        if options.unit and unit.name not in options.unit:
            continue
        count = max(1, round(unit.mutants * options.scale))
        for result in mutate_unit(unit, count, options.seed, options.jobs, known):
            print(f"{unit.name}: {result.verdict}: {result.what}", flush=True)
            results.append(asdict(result))
    write_report(results, build_root())
    if options.docs:
        update_document(results, options.docs)
    sys.exit(print_summary(results))


if __name__ == "__main__":
    main()
