"""Functional coverage: what a bench has seen, of all that its author said must be seen.

    cover = Coverage("vector")
    cover.point("types", {"dt": DTS, "at": ATS})  # a cross: each combination is a bin
    cover.point("tail", {"cols mod lanes": ["0", "1", "more"]}, waive={("1",): "the reason"})
    cover.hit("types", dt="bf16", at="acc")
    cover.hit("tail", "0")
    cover.save()

`save` writes what was hit to the folder of the run (`$JALAPENO_COVERAGE`; without it nothing is
written). `read_folder` merges the files of all processes, simulators and seeds by addition.
"""

import itertools
import json
import os
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = "JALAPENO_COVERAGE"
ANY = "*"  # in the key of a waiver: whatever this axis says
Bin = tuple[str, ...]


@dataclass
class Point:
    """A cross of axes: `axes` name → values, `waived` bin → reason, `hits` bin → times."""

    axes: dict[str, list[str]]
    waived: dict[Bin, str] = field(default_factory=dict)
    hits: Counter[Bin] = field(default_factory=Counter)

    @property
    def bins(self) -> list[Bin]:
        """All combinations, in the order in which the values were given."""
        return list(itertools.product(*self.axes.values()))

    def missing(self) -> list[Bin]:
        """Bins that were neither hit nor waived."""
        return [b for b in self.bins if not self.hits[b] and b not in self.waived]

    def unhit_waived(self) -> list[Bin]:
        """Bins that are waived, and were indeed not hit."""
        return [b for b in self.waived if not self.hits[b]]

    def describe(self, one: Bin) -> str:
        """ "dt=bf16 at=acc"."""
        return " ".join(f"{axis}={value}" for axis, value in zip(self.axes, one, strict=True))


class Coverage:
    """The points of one unit. `units` merge by name, so two benches of a unit may share it."""

    def __init__(self, unit: str) -> None:
        self.unit = unit
        self.points: dict[str, Point] = {}

    def point(
        self,
        name: str,
        axes: Mapping[str, Sequence[object]],
        waive: Mapping[tuple, str] | None = None,
    ) -> None:
        """Declare a cross; values are named by `str`. A waiver's key holds a value of each axis,
        or "*" for all of them, and its value is the reason.

        Raises ValueError for a point declared twice, no or equal values, and unknown waivers.
        """
        if name in self.points:
            raise ValueError(f"coverage of {self.unit}: point {name!r} is declared twice")
        named = {axis: [str(value) for value in values] for axis, values in axes.items()}
        for axis, values in named.items():
            if not values or len(set(values)) != len(values):
                wanted = f"point {name!r} axis {axis!r} must have different values"
                raise ValueError(f"coverage of {self.unit}: {wanted}, not {values}")
        created = self.points[name] = Point(named)
        for key, reason in (waive or {}).items():
            matching = [b for b in created.bins if _matches(tuple(map(str, key)), b)]
            if not matching or not reason:
                wanted = f"point {name!r}: a waiver must name bins and a reason"
                raise ValueError(f"coverage of {self.unit}: {wanted}, not {key}: {reason!r}")
            created.waived |= dict.fromkeys(matching, reason)

    def hit(self, point: str, *values: object, **axes: object) -> None:
        """Count a bin, given by the values of its axes in order or by their names.

        Raises ValueError when there is no such bin: a bench that sees what its author did not
        think of must say so.
        """
        target = self.points[point]
        given = values or tuple(axes.get(axis, "?") for axis in target.axes)
        one = tuple(map(str, given))
        valid = len(one) == len(target.axes) and axes.keys() <= target.axes.keys()
        if not valid or any(v not in target.axes[a] for a, v in zip(target.axes, one, strict=True)):
            raise ValueError(
                f"coverage of {self.unit}: point {point!r} has no bin {values or axes}"
            )
        target.hits[one] += 1

    def save(self) -> None:
        """Write the state to a file of its own in the folder of the run, if there is one."""
        folder = os.environ.get(FOLDER)
        if folder:
            path = Path(folder) / f"{self.unit}-{uuid.uuid4().hex}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            partial = path.with_suffix(".part")
            partial.write_text(json.dumps(to_json([self])))
            partial.rename(path)  # in one step: the reader takes whole files only


def _matches(key: Bin, one: Bin) -> bool:
    return len(key) == len(one) and all(k in (ANY, v) for k, v in zip(key, one, strict=True))


def to_json(units: Sequence[Coverage]) -> dict:
    """Everything of the units in plain types; `from_json` reads it."""

    def plain(p: Point) -> dict:
        return {
            "axes": p.axes,
            "waived": [[list(b), reason] for b, reason in p.waived.items()],
            "hits": [[list(b), count] for b, count in p.hits.items()],
            "missing": [list(b) for b in p.missing()],
        }

    return {u.unit: {name: plain(p) for name, p in u.points.items()} for u in units}


def from_json(data: Mapping) -> Iterator[Coverage]:
    """The units that `to_json` wrote."""
    for unit, points in data.items():
        cover = Coverage(unit)
        for name, p in points.items():
            waived = {tuple(b): reason for b, reason in p["waived"]}
            hits = Counter({tuple(b): count for b, count in p["hits"]})
            cover.points[name] = Point(p["axes"], waived, hits)
        yield cover


def read_folder(folder: Path) -> list[Coverage]:
    """The units of all files in `folder`, merged, by name.

    Raises ValueError when two files declare a point differently.
    """
    merged: dict[str, Coverage] = {}
    for path in sorted(folder.glob("*.json")):
        for cover in from_json(json.loads(path.read_text())):
            known = merged.setdefault(cover.unit, Coverage(cover.unit))
            for name, p in cover.points.items():
                first = known.points.setdefault(name, Point(p.axes, p.waived))
                if first.axes != p.axes or first.waived != p.waived:
                    raise ValueError(
                        f"coverage of {cover.unit}: point {name!r} is declared in two ways"
                    )
                first.hits += p.hits
    return [merged[unit] for unit in sorted(merged)]


def report(units: Sequence[Coverage]) -> list[str]:
    """Lines of text: a row for each unit, then every bin that was not hit, by name."""
    rows = [f"{'unit':<22}{'points':>8}{'bins':>8}{'hit':>8}{'waived':>8}{'missing':>9}"]
    names = []
    for cover in units:
        points = cover.points.values()
        hit = sum(sum(1 for b in p.bins if p.hits[b]) for p in points)
        bins = sum(len(p.bins) for p in points)
        waived = sum(len(p.unhit_waived()) for p in points)
        missing = sum(len(p.missing()) for p in points)
        rows.append(f"{cover.unit:<22}{len(points):>8}{bins:>8}{hit:>8}{waived:>8}{missing:>9}")
        for name, p in cover.points.items():
            names += [f"not hit: {cover.unit}.{name}: {p.describe(b)}" for b in p.missing()]
            names += [
                f"waived: {cover.unit}.{name}: {p.describe(b)}: {p.waived[b]}"
                for b in p.unhit_waived()
            ]
    return rows + names
