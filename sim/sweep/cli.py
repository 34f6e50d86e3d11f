"""``jalapeno sweep``: its options."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sim.sweep.journal import Journal, Row
    from sim.sweep.points import Point
    from sim.sweep.spec import Sweep

MANY = 10**5


def sweep(
    file: Annotated[Path, typer.Argument(help="The sweep (.toml).", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder of the results; default: FILE's name."),
    ] = None,
    jobs: Annotated[
        int, typer.Option("-j", "--jobs", min=0, help="Processes; 0: a core each.")
    ] = 0,
    check: Annotated[
        bool, typer.Option(help="Prove hazards, semaphores and bounds of what is compiled.")
    ] = True,
    check_rtl: Annotated[
        bool,
        typer.Option("--check-rtl", help="Run small points on the RTL, too, and show the error."),
    ] = False,
    parquet: Annotated[
        bool, typer.Option("--parquet", help="Write results.parquet beside results.csv.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Pictures against array size (.svg, .png, .pdf).")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Points shown of each launch.")] = 12,
    yes: Annotated[
        bool, typer.Option("--yes", help=f"Also with more than {MANY:,} points.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="All rows on stdout.")] = False,
) -> None:
    """Time programs on many chips: any field of the configuration over values, in parallel.

    Each finished point is in results.jsonl at once: the same command again goes on where the last
    one stopped, and a changed file runs what is new.

    Example: jalapeno sweep programs/sweep_arrays.toml -o build/sweep --plot build/sweep.svg
    """
    import json
    import os

    from sim.cycle.build import build_model
    from sim.report import console
    from sim.sweep.journal import open_journal
    from sim.sweep.plots import need_plots, write_plots
    from sim.sweep.points import points_of
    from sim.sweep.programs import check_image_fits
    from sim.sweep.results import need_parquet, print_rows, write_csv, write_parquet
    from sim.sweep.spec import read_sweep

    wanted = read_sweep(file)
    for program in wanted.programs:
        check_image_fits(program, wanted.config, wanted.fields)
    if len(wanted) > MANY and not yes:
        raise ValueError(f"{file}: {len(wanted):,} points: --yes runs so many")
    if plot is not None:
        need_plots(plot)
    if parquet:
        need_parquet()
    folder = output or file.with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    build_model()
    points = list(points_of(wanted))
    with open_journal(folder / "results.jsonl") as journal:
        try:
            _run(wanted, points, journal, folder, jobs or len(os.sched_getaffinity(0)), check)
            if check_rtl:
                _check_rtl(points, journal, folder)
        except KeyboardInterrupt:
            journal.read()
            known = sum(point.key in journal.rows for point in points)
            console.print(
                f"interrupted: {known:,} of {len(points):,} points are kept; again: the same "
                "command"
            )
            raise
        rows = [journal.rows[point.key] for point in points]
    write_csv(folder / "results.csv", rows)
    if parquet:
        write_parquet(folder / "results.parquet", rows)
    if plot is not None:
        write_plots(plot, rows, wanted.varied)
    print_rows(rows, wanted.told_apart_by, top)
    if as_json:
        print(json.dumps(rows))
    _verdict(rows, file)


def _run(
    wanted: "Sweep", points: "list[Point]", journal: "Journal", folder: Path, jobs: int, check: bool
) -> None:
    from sim.report import console, track
    from sim.sweep.measure import FAILED
    from sim.sweep.run import run_points

    new = [p for p in points if journal.rows.get(p.key, {"status": FAILED})["status"] == FAILED]
    console.print(
        f"{wanted.path}: {len(points):,} points, {len(points) - len(new):,} of them known, "
        f"in {folder}"
    )
    if new:
        runs = run_points(new, journal, folder / "programs", jobs, check)
        for _ in track(runs, len(new), "points"):
            pass


def _check_rtl(points: "list[Point]", journal: "Journal", folder: Path) -> None:
    from sim.report import console, track
    from sim.sweep.check_rtl import MOST_CYCLES, MOST_ELEMENTS, check_points, is_small

    small = [point for point in points if is_small(journal.rows[point.key])]
    new = [point for point in small if "rtl_cycles" not in journal.rows[point.key]]
    console.print(
        f"{len(small)} of {len(points)} points are small enough for the RTL (at most "
        f"{MOST_ELEMENTS} processing elements and {MOST_CYCLES:,} cycles), "
        f"{len(small) - len(new)} of them known"
    )
    for _ in track(check_points(new, journal, folder / "programs"), len(new), "RTL"):
        pass


def _verdict(rows: "list[Row]", file: Path) -> None:
    """ValueError where a point has failed, or none could run."""
    from sim.sweep.measure import FAILED, OK

    failed = [row for row in rows if row["status"] == FAILED]
    if failed:
        raise ValueError(
            f"{file}: {len(failed)} points failed, the first: {failed[0]['command']}: "
            f"{failed[0]['reason']}"
        )
    if not any(row["status"] == OK for row in rows):
        raise ValueError(f"{file}: none of {len(rows)} points can exist: {rows[0]['reason']}")
