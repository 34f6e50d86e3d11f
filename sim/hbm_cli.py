"""``jalapeno hbm``: its options."""

from pathlib import Path
from typing import Annotated

import typer


def hbm(
    generation: Annotated[
        list[str] | None,
        typer.Option(help="hbm2e, hbm3, hbm3e, hbm4 or a TOML file. Repeatable; default: all."),
    ] = None,
    pattern: Annotated[
        list[str] | None, typer.Option(help="stream, random, strided. Repeatable; default: all.")
    ] = None,
    read_fraction: Annotated[float, typer.Option(min=0, max=1, help="The others write.")] = 1.0,
    requests: Annotated[int, typer.Option(min=1, help="Bursts of each pattern.")] = 20_000,
    burst: Annotated[int, typer.Option(help="Bytes of a burst; 0: 256, 64, 32.")] = 0,
    outstanding: Annotated[int, typer.Option(min=1, help="Bursts under way.")] = 16,
    depth: Annotated[int, typer.Option(min=8, help="Accesses the scheduler sees.")] = 64,
    mapping: Annotated[
        str | None, typer.Option(help="Address mapping, see isa/hbm_map.py.")
    ] = None,
    refresh: Annotated[str, typer.Option(help="all: all banks at once; bank: one by one.")] = "all",
    loads: Annotated[bool, typer.Option("--loads", help="Latency against load as well.")] = False,
    plot: Annotated[Path | None, typer.Option(help="PNG or SVG of latency against load.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="A list on stdout.")] = False,
) -> None:
    """Measure the HBM controller in RTL: bandwidth and latency of one pseudo-channel.

    Every run checks data and the device's timing; a violation ends it with exit status 1.

    Example: jalapeno hbm --generation hbm3 --pattern random --read-fraction 0.5
    """
    from sim.hbm_bench import Workload
    from sim.hbm_patterns import PATTERNS
    from sim.hbm_report import measure_all, print_table, to_json, write_plot

    names = pattern or list(PATTERNS)
    works = [Workload(n, read_fraction, requests, burst, outstanding) for n in names]
    options = {"depth": depth, "refresh": refresh}
    found = measure_all(generation, works, loads or plot is not None, mapping, options)
    if plot is not None:
        write_plot(plot, found)
    if as_json:
        print(to_json(found))
    else:
        print_table(found)
