"""``jalapeno fuzz``: random programs on both back ends."""

from pathlib import Path
from typing import Annotated

import typer


def fuzz(
    programs: Annotated[int, typer.Option(min=1, help="Programs to run.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of the first program; then one by one.")] = 1,
    config: Annotated[
        list[str] | None,
        typer.Option(help="Chip: tiny, fp8, int8, a preset, a TOML file. Repeatable; default: 3."),
    ] = None,
    illegal: Annotated[
        bool, typer.Option("--illegal", help="Plant a fault of each kind in turn.")
    ] = False,
    save: Annotated[Path, typer.Option(help="Directory for what fails.")] = Path(
        "programs/regressions"
    ),
) -> None:
    """Run random programs on both back ends, which must agree on everything.

    The first failing one is shrunk, shown and saved; the exit status is then 1.

    Example: jalapeno fuzz --programs 1000 --seed 7 --config int8
    """
    from sim import report
    from sim.build_rtl import build_model
    from sim.errors import SimulationError
    from sim.fuzz import CHIPS, campaign, chip
    from sim.fuzz_files import listing

    chips = [chip(name) for name in config or CHIPS]
    for entry in chips:
        with report.console.status(f"building the RTL of configuration {entry.name}, once"):
            build_model(entry)
    runs = campaign(chips, programs, seed, illegal, save)
    for failure in report.track(runs, programs, "random programs"):
        if failure:
            print(listing(failure.case), end="")
            raise SimulationError(f"{failure.file}: {failure.why}")
    report.console.print(f"{programs:,} programs from seed {seed} on: the back ends agree on all")
