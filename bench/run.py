"""`make bench`: the published measurements, as a table and as JSON.

    python bench/run.py                        everything
    python bench/run.py --quick                a small part of it, in less than two minutes
    python bench/run.py --only rtl --json FILE one part, for scripts too

Exit status 1 where a measurement is not as wanted.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import builds
import core_rate
import cycle_rate
import dma_rate
import efficiency
import fresh
import functional
import hbm
import rtl_speed
import sweep_rate
import throughput
from measure import Line
from rich.console import Console
from rich.table import Table
from trained import TRAINED, compile_model

PARTS = (
    *("functional", "rtl", "core", "verilate", "elaborate", "hbm", "dma", "cycle", "efficiency"),
    *("throughput", "sweep", "fresh"),
)


def lines(parts: list[str], quick: bool, folder: Path) -> Iterator[Line]:
    """All measurements, one after another: nothing runs beside what is measured."""
    if {"functional", "rtl"} & set(parts):
        for model in TRAINED:
            image, compiled = compile_model(model, folder)
            yield compiled
            if "functional" in parts:
                yield from functional.measure(model, image, quick)
            if "rtl" in parts:
                yield from rtl_speed.measure(model, image, quick)
    if "core" in parts:
        yield from core_rate.measure(folder / "core", quick)
    if "verilate" in parts and not quick:
        yield from builds.verilation(folder / "build")
    if "elaborate" in parts:
        yield from builds.elaboration(folder, quick)
    if "hbm" in parts:
        yield from hbm.measure(quick)
    if "dma" in parts:
        yield from dma_rate.measure(quick)
    if "cycle" in parts:
        yield from cycle_rate.measure(quick)
    if "efficiency" in parts:
        yield from efficiency.measure(quick)
    if "throughput" in parts:
        yield from throughput.measure(folder, quick)
    if "sweep" in parts and not quick:
        yield from sweep_rate.measure()
    if "fresh" in parts and not quick:
        yield from fresh.measure(folder)


def table(measured: list[Line]) -> Table:
    """One row a measurement."""
    result = Table("measurement", "of", "value", "unit", "wanted", "", "note")
    result.columns[2].justify = "right"
    for line in measured:
        verdict = {None: "", True: "yes", False: "no"}[line.met]
        result.add_row(
            *(line.group, line.what, _number(line.value), line.unit, _wanted(line)),
            *(verdict, line.note),
        )
    return result


def _number(value: float | None) -> str:
    if value is None:
        return "—"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _wanted(line: Line) -> str:
    if line.wanted is None:
        return ""
    return f"{'at most' if line.most else 'at least'} {line.wanted:g}"


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description="The published measurements.")
    parser.add_argument("--quick", action="store_true", help="a small part of everything")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part (repeatable)")
    parser.add_argument("--json", type=Path, help="also write a JSON list to this file")
    options = parser.parse_args()
    errors = Console(stderr=True, highlight=False)
    measured = []
    with tempfile.TemporaryDirectory(prefix="jalapeno-bench-") as folder:
        for line in lines(options.only or list(PARTS), options.quick, Path(folder)):
            measured.append(line)
            errors.print(f"{line.group}, {line.what}: {_number(line.value)} {line.unit}")
    if options.json:
        text = json.dumps([line.to_dict() for line in measured], indent=1)
        options.json.write_text(text + "\n")
    wide = None if sys.stdout.isatty() else 160
    Console(highlight=False, width=wide).print(table(measured))
    sys.exit(any(line.met is False for line in measured))


if __name__ == "__main__":
    main()
