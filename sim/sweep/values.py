"""Entries of a sweep's TOML file: tables, lists and ranges, and what is said of wrong ones."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

Values = Sequence[Any]
_STEPS = ("from", "to", "step", "times")


class SweepError(ValueError):
    """A sweep that cannot be run; one line that names the file and the entry."""


def numbers(given: Any, where: str) -> Sequence[int]:
    """Integers: a list, or { from, to, step or times }, both ends included. SweepError."""
    if isinstance(given, list):
        if given and all(type(value) is int for value in given):
            return given
        raise SweepError(f"{where} must be a list of integers, not {given!r}")
    entries = table(given, where)
    check_names(entries, _STEPS, where)
    if any(type(value) is not int for value in entries.values()):
        raise SweepError(f"{where} must have integers, not {given!r}")
    if not {"from", "to"} <= set(entries) or {"step", "times"} <= set(entries):
        raise SweepError(f"{where} must be a list, or have from, to, and step or times")
    first, last = entries["from"], entries["to"]
    step, times = entries.get("step", 1), entries.get("times", 0)
    if step < 1 or times in (1,) or times < 0 or (times and first < 1):
        raise SweepError(f"{where} must grow: step at least 1, or times at least 2, not {given!r}")
    found = list(_powers(first, last, times)) if times else range(first, last + 1, step)
    if not found:
        raise SweepError(f"{where} has no values: the grid is empty")
    return found


def _powers(first: int, last: int, times: int) -> Iterator[int]:
    while first <= last:
        yield first
        first *= times


def table(given: Any, where: str) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise SweepError(f"{where} must be a table, not {given!r}")
    return given


def tables(given: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(given, list) or not all(isinstance(entry, dict) for entry in given):
        raise SweepError(f"{where} must be written [[{where.split()[-1]}]]")
    return given


def check_names(given: Mapping[str, Any], known: Sequence[str] | dict, where: str) -> None:
    """SweepError for the first name that is not known, with the nearest one."""
    for name in given:
        if name not in known:
            near = get_close_matches(name, list(known), 1)
            text = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
            raise SweepError(f"{where}: unknown field {name!r}, {text}")
