"""Points of a sweep again, on the RTL."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from isa.image import load_image
from sim.build_rtl import build_model
from sim.cycle.measure import on_rtl
from sim.report import console
from sim.sweep.journal import Journal, Row
from sim.sweep.measure import OK, launch_of
from sim.sweep.points import Point
from sim.sweep.run import image_path

# What is small enough: a model of the RTL is built in some minutes, and runs some 60,000 cycles a
# second.
MOST_ELEMENTS = 256
MOST_CYCLES = 2_000_000


def is_small(row: Row) -> bool:
    """Whether a point can be run on the RTL in minutes."""
    size = row["config"]["rows"] * row["config"]["cols"] if row["status"] == OK else 0
    return row["status"] == OK and size <= MOST_ELEMENTS and row["cycles"] <= MOST_CYCLES


def check_points(points: Sequence[Point], journal: Journal, folder: Path) -> Iterator[Point]:
    """Add ``rtl_cycles`` and ``rtl_error``, (model - RTL) / RTL, to their rows, which have run."""
    for point in points:
        row, config = journal.rows[point.key], point.config
        assert config is not None
        # Chips that differ in what the RTL does not depend on share a build, and a preset's.
        config = replace(config, name=Path(config.name.split(",")[0]).stem)
        with console.status(f"building the RTL of {point.chip}, once"):
            build_model(config)
        image = replace(load_image(image_path(point, folder)), config=config)
        cycles = on_rtl(launch_of(image, point.launch)).cycles
        error = (row["cycles"] - cycles) / cycles
        journal.add({"key": point.key, "rtl_cycles": cycles, "rtl_error": error})
        yield point
