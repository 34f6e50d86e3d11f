"""``jalapeno hbm``: measures, and shows what was measured."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from isa.hbm import GENERATIONS, load_generation
from isa.hbm_map import DEFAULT_MAP, HbmMap
from sim.hbm_bench import LOADS, Measured, Workload, measure
from sim.hbm_traffic import HbmTraffic
from sim.report import console, track

REFRESH = {"all": False, "bank": True}


def measure_all(
    generations: Sequence[str] | None,
    works: Sequence[Workload],
    loads: bool,
    mapping: str | None,
    options: dict[str, Any],
) -> list[Measured]:
    """Each workload on each generation, with ``loads`` also at given loads. ``options``: ``depth``
    of the windows (a power of two), ``refresh``: all or bank. ValueError names what is wrong."""
    depth, refresh = options["depth"], options["refresh"]
    if refresh not in REFRESH:
        raise ValueError(f"refresh must be one of {', '.join(REFRESH)}, not {refresh!r}")
    if depth & (depth - 1):
        raise ValueError(f"depth must be a power of two, not {depth}")
    maps = [
        HbmMap(mapping or DEFAULT_MAP, load_generation(name), 1)
        for name in generations or GENERATIONS
    ]
    points: list[float | None] = [None, *LOADS] if loads else [None]
    found = []
    for entry in maps:
        with console.status(f"building the RTL of a controller for {entry.generation.name}, once"):
            traffic = HbmTraffic(entry, depth=depth, per_bank=REFRESH[refresh])
        runs = [(work, load) for work in works for load in points]
        measured = (measure(traffic, *run) for run in runs)
        found += list(track(measured, len(runs), entry.generation.name))
    return found


def print_table(found: Sequence[Measured]) -> None:
    """One row for each run."""
    table = Table(box=None)
    for name in ("generation", "pattern", "reads", "load"):
        table.add_column(name)
    for name in ("bandwidth", "of 1 - refresh", "GB/s", "latency", "row hits", "of the bound"):
        table.add_column(name, justify="right")
    for run in found:
        table.add_row(
            run.generation,
            run.pattern,
            f"{run.read_fraction:.0%}",
            "full" if run.load is None else f"{run.load:.0%}",
            f"{run.bandwidth_fraction:.1%}",
            f"{run.bandwidth_fraction / (1 - run.refresh_fraction):.1%}",
            f"{run.gigabytes_per_second:.1f}",
            f"{run.latency_ns:.1f} ns",
            f"{run.row_hit_fraction:.1%}",
            f"{run.bandwidth_fraction / run.bound_fraction:.1%}" if run.bound_fraction else "",
        )
    console.print(table)


def to_json(found: Sequence[Measured]) -> str:
    """A list of objects, a run each."""
    return json.dumps([run.to_dict() for run in found], indent=1)


def write_plot(path: Path, found: Sequence[Measured]) -> None:
    """Latency against load, a line for each generation and pattern."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ValueError("--plot needs matplotlib: pip install 'jalapeno[plots]'") from None
    axes = (figure := Figure(figsize=(7, 4.5), layout="constrained")).add_subplot()
    lines: dict[str, list[Measured]] = {}
    for run in found:
        if run.load is not None:
            lines.setdefault(f"{run.generation} {run.pattern}", []).append(run)
    for name, runs in lines.items():
        loads = [run.bandwidth_fraction for run in runs]
        axes.plot(loads, [run.latency_ns for run in runs], marker="o", label=name)
    axes.set(xlabel="bandwidth, of the pin rate", ylabel="mean read latency (ns)", yscale="log")
    axes.legend()
    figure.savefig(path)
