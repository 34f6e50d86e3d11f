"""Pictures of a sweep: time, utilisation and bandwidth against array size, and the Pareto front."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isa.files import whole_file
from sim.sweep.journal import Row
from sim.sweep.measure import OK
from sim.sweep.results import ARRAY, kind_of, time_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SUFFIXES = (".svg", ".png", ".pdf")


def need_plots(path: Path) -> None:
    """ValueError where `write_plots` would not know what to write, or with what."""
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: a picture ends in {', '.join(SUFFIXES)}")
    if not find_spec("matplotlib"):
        raise ValueError("--plot needs matplotlib: pip install 'jalapeno[plots]'")


def write_plots(path: Path, rows: Sequence[Row], varied: Sequence[str]) -> None:
    """Four pictures in one file; of points with the same x, lines go through the fastest."""
    from matplotlib.figure import Figure

    done = [row for row in rows if row["status"] == OK]
    figure = Figure(figsize=(11, 8), layout="constrained")
    axes = list(figure.subplots(2, 2).flat)
    name, of = abscissa(varied)
    clock = all(row["seconds"] for row in done)
    time = "time (s)" if clock else "cycles"
    bandwidth = "through the memory's port (GB/s)" if clock else "bytes a cycle"
    for place, label, value in (
        (axes[0], time, time_of),
        (axes[1], "MACs, of the array's peak", _macs),
        (axes[2], bandwidth, _bandwidth),
    ):
        place.set(xlabel=name, ylabel=label)
        _draw(place, done, of, value)
    axes[0].set_yscale("log")
    if done:
        axes[0].legend()
    axes[3].set(xlabel=name, ylabel=time, title="Pareto front", yscale="log")
    _draw_fronts(axes[3], done, of)
    with whole_file(path) as file:
        figure.savefig(file, format=path.suffix[1:])


def abscissa(varied: Sequence[str]) -> tuple[str, Callable[[Row], Any]]:
    """What points are drawn against: processing elements, or what varies instead."""
    if not varied or set(varied) & set(ARRAY):
        return "processing elements", lambda row: row["config"]["rows"] * row["config"]["cols"]
    return varied[0], lambda row: row["config"][varied[0]]


def _macs(row: Row) -> float:
    return row["mac_utilisation"]


def _bandwidth(row: Row) -> float:
    return row["gigabytes_per_second"] or row["bytes"] / row["cycles"]


def _draw(axes: "Axes", rows: Sequence[Row], of: Callable, value: Callable) -> None:
    """Every point, and a line through the fastest of each x."""
    for kind in dict.fromkeys(kind_of(row) for row in rows):
        same = [row for row in rows if kind_of(row) == kind]
        fastest = {of(row): row for row in sorted(same, key=time_of, reverse=True)}
        line = [(x, value(fastest[x])) for x in sorted(fastest)]
        (drawn,) = axes.plot(*zip(*line, strict=True), marker="o", label=" ".join(kind))
        x, y = [of(row) for row in same], [value(row) for row in same]
        axes.scatter(x, y, s=9, color=drawn.get_color(), alpha=0.4)
    _scale(axes, [of(row) for row in rows])


def _draw_fronts(axes: "Axes", rows: Sequence[Row], of: Callable) -> None:
    for kind in dict.fromkeys(kind_of(row) for row in rows):
        same = [row for row in rows if kind_of(row) == kind]
        best = [(of(row), time_of(row)) for row in front(same, of)]
        (drawn,) = axes.step(*zip(*best, strict=True), where="post", marker="o")
        x, y = [of(row) for row in same], [time_of(row) for row in same]
        axes.scatter(x, y, s=9, color=drawn.get_color(), alpha=0.4)
    _scale(axes, [of(row) for row in rows])


def front(rows: Sequence[Row], of: Callable[[Row], Any]) -> list[Row]:
    """The Pareto front: those that no other is faster than at the same x or less, by x."""
    found: list[Row] = []
    for row in sorted(rows, key=lambda row: (of(row), time_of(row))):
        if not found or time_of(row) < time_of(found[-1]):
            found.append(row)
    return found


def _scale(axes: "Axes", values: Sequence[Any]) -> None:
    if values and all(isinstance(value, int) and value > 0 for value in values):
        axes.set_xscale("log", base=2)
    axes.grid(alpha=0.3)
