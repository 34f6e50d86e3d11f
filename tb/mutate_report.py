"""What mutation found: a table for the terminal, JSON, and the table of survivors as Markdown."""

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from rich.console import Console
from rich.table import Table

WANTED = 0.95  # share of the mutants that the benches must notice
MARK = "<!-- made by make mutate -->"
_CAUGHT = ("caught", "timeout")


def score(results: Sequence[dict]) -> tuple[int, int]:
    """Mutants noticed, and mutants that could be: those proven equivalent don't count."""
    verdicts = Counter(result["verdict"] for result in results)
    caught = sum(verdicts[verdict] for verdict in _CAUGHT)
    return caught, caught + verdicts["survived"]


def print_summary(results: Sequence[dict]) -> int:
    """A row for each unit; returns the exit status, 1 when too few are noticed."""
    table = Table("unit", "mutants", "caught", "of these hung", "equivalent", "survived", "share")
    for column in table.columns[1:]:
        column.justify = "right"
    for unit in [*dict.fromkeys(result["unit"] for result in results), ""]:
        mine = [result for result in results if unit in ("", result["unit"])]
        verdicts = Counter(result["verdict"] for result in mine)
        caught, count = score(mine)
        counts = (len(mine), caught, *(verdicts[v] for v in ("timeout", "equivalent", "survived")))
        share = f"{caught / count:.1%}" if count else "-"
        table.add_row(unit or "all", *(str(number) for number in counts), share)
    Console().print(table)
    caught, count = score(results)
    return int(caught < WANTED * count)


def write_report(results: Sequence[dict], folder: Path) -> None:
    """mutation.json and mutation.md in ``folder``."""
    (folder / "mutation.json").write_text(json.dumps(results, indent=1) + "\n")
    (folder / "mutation.md").write_text(markdown(results))


def split_document(path: Path) -> list[str]:
    """What stands before, between and behind the two marks; ValueError where they are missing."""
    parts = path.read_text().split(MARK)
    if len(parts) != 3:
        raise ValueError(f"{path}: expected two lines {MARK}, not {len(parts) - 1}")
    return parts


def update_document(results: Sequence[dict], path: Path) -> None:
    """Replace the tables between the two marks of a document; reasons given there are kept."""
    before, tables, behind = split_document(path)
    reasons = dict(re.findall(r"^(\| .* \|) (.+) \|$", tables, re.MULTILINE))
    path.write_text(MARK.join([before, f"\n\n{markdown(results, reasons)}\n", behind]))


def markdown(results: Sequence[dict], reasons: Mapping[str, str] = MappingProxyType({})) -> str:
    """Counts by unit, then every survivor by name, with its reason where that is known."""
    lines = ["| unit | mutants | caught | equivalent | survived |", "|---|---:|---:|---:|---:|"]
    for unit in [*dict.fromkeys(result["unit"] for result in results), ""]:
        mine = [result for result in results if unit in ("", result["unit"])]
        verdicts = Counter(result["verdict"] for result in mine)
        row = (len(mine), score(mine)[0], verdicts["equivalent"], verdicts["survived"])
        lines.append(f"| {unit or 'all'} | {' | '.join(str(number) for number in row)} |")
    lines += ["", "| unit | survivor: module, statement, change | reason |", "|---|---|---|"]
    for result in results:
        if result["verdict"] == "survived":
            start = f"| {result['unit']} | {result['what'].replace('|', chr(92) + '|')} |"
            lines.append(f"{start} {reasons.get(start, '')} |")
    return "\n".join(lines) + "\n"
