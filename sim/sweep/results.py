"""Rows of a sweep as tables: in the terminal, as CSV and as Parquet."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from isa.files import whole_file
from sim.report import console
from sim.sweep.journal import Row
from sim.sweep.measure import OK

_COLUMNS = (
    *(
        "program",
        "launch",
        "tokens",
        "past",
        "status",
        "reason",
        "cycles",
        "bound",
        "seconds",
        "macs",
    ),
    *("bytes", "mac_utilisation", "gigabytes_per_second", "rtl_cycles", "rtl_error"),
)
_HEADINGS = ("cycles", "time", "MACs", "HBM", "GB/s", "RTL")
ARRAY = ("rows", "cols")
_NESTED = ("in_use", "classes", "config")


def flat(row: Row) -> dict[str, Any]:
    """One level, with dots: `config.rows`, `classes.load.busy`. The same columns for every row that
    has run; others have some of them."""
    found = {name: row.get(name) for name in _COLUMNS}
    for name in _NESTED:
        found |= _flattened(name, row.get(name, {}))
    return found | {"command": row["command"], "key": row["key"]}


def _flattened(name: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        return {name.replace(" ", "_"): value}
    parts = (_flattened(f"{name}.{key}", entry) for key, entry in value.items())
    return {key: entry for part in parts for key, entry in part.items()}


def _columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Those of all rows, in the order of the fullest."""
    fullest = max(rows, key=len, default={})
    return list(dict.fromkeys([*fullest, *(name for row in rows for name in row)]))


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """A line for each row; whole or not at all."""
    flattened = [flat(row) for row in rows]
    text = io.StringIO()
    writer = csv.DictWriter(text, _columns(flattened), lineterminator="\n")
    writer.writeheader()
    writer.writerows(flattened)
    with whole_file(path) as file:
        file.write(text.getvalue().encode())


def need_parquet() -> None:
    """ValueError, which says what to install, without pyarrow."""
    if not find_spec("pyarrow"):
        raise ValueError("--parquet needs pyarrow: pip install 'jalapeno[parquet]'")


def write_parquet(path: Path, rows: Sequence[Row]) -> None:
    """The table of `write_csv` with its types; whole or not at all."""
    import pyarrow
    import pyarrow.parquet

    flattened = [flat(row) for row in rows]
    columns = {name: [row.get(name) for row in flattened] for name in _columns(flattened)}
    with whole_file(path) as file:
        pyarrow.parquet.write_table(pyarrow.table(columns), file)


def print_rows(rows: Sequence[Row], axes: Sequence[str], top: int) -> None:
    """A table for each program's launch with its ``top`` fastest points, ``axes`` being what tells
    them apart; then what can't exist, by reason."""
    done = [row for row in rows if row["status"] == OK]
    own = [name for name in axes if name not in ARRAY]
    for kind in dict.fromkeys(kind_of(row) for row in done):
        same = sorted((row for row in done if kind_of(row) == kind), key=time_of)
        more = f", {len(same) - top} more in results.csv" if len(same) > top else ""
        title = f"{' '.join(kind)}: {len(same)} points{more}"
        table = Table("array", *own, *_HEADINGS, box=SIMPLE, title=title, title_justify="left")
        for column in table.columns:
            column.justify, column.no_wrap = "right", True
        for row in same[:top]:
            chip = row["config"]
            table.add_row(array_of(row), *(str(chip[name]) for name in own), *_cells(row))
        console.print(table)
    reasons = Counter(f"{r['status']}: {r['reason']}" for r in rows if r["status"] != OK)
    for text, count in reasons.items():
        console.print(f"{count} {'points' if count > 1 else 'point'} {text}", markup=False)


def array_of(row: Row) -> str:
    """Rows and columns of a point's array."""
    return f"{row['config']['rows']}×{row['config']['cols']}"


def kind_of(row: Row) -> tuple[str, str]:
    """Program and launch: what can be compared."""
    tokens, past = row["tokens"], row["past"]
    name = row["launch"]
    return row["program"], name if not tokens else f"{name} {past or tokens}"


def time_of(row: Row) -> float:
    """Seconds; cycles where there is no clock."""
    return row["seconds"] or row["cycles"]


def _cells(row: Row) -> list[str]:
    seconds, speed = row["seconds"], row["gigabytes_per_second"]
    pins, error = row["in_use"].get("HBM pins"), row.get("rtl_error")
    cycles, bound = row["cycles"], row["bound"]
    return [
        f"{cycles:,}" + (f" ±{bound / cycles:.1%}" if bound else ""),
        _short(seconds) if seconds else "",
        f"{row['mac_utilisation']:.1%}",
        f"{pins:.1%}" if pins is not None else "",
        f"{speed:.1f}" if speed else "",
        "" if error is None else f"{error:+.3%}" if error else "equal",
    ]


def _short(seconds: float) -> str:
    scale, unit = next(
        (scale, unit)
        for scale, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs"))
        if seconds * scale >= 1 or unit == "µs"
    )
    return f"{seconds * scale:,.1f} {unit}"
