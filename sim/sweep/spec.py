"""What a sweep's TOML file says: the chip that every point starts from, axes, programs."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

from isa.config import ChipConfig, load_config, preset_names
from sim.sweep.programs import Program, read_program
from sim.sweep.values import SweepError, Values, check_names, numbers, table, tables

_KEYS = ("config", "fields", "together", "program")
_TYPES = {field.name: field.type for field in fields(ChipConfig) if field.name != "name"}


@dataclass(frozen=True)
class Axis:
    """Fields that change together: value i of each belongs to value i of the others."""

    names: tuple[str, ...]
    values: tuple[Values, ...]

    def __len__(self) -> int:
        return len(self.values[0])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for values in zip(*self.values, strict=True):
            yield dict(zip(self.names, values, strict=True))


@dataclass(frozen=True)
class Sweep:
    """``config``: as `load_config` takes it; ``programs`` with their launches."""

    path: Path
    config: str
    axes: tuple[Axis, ...]
    programs: tuple[Program, ...]

    def __len__(self) -> int:
        """Points: chips times launches."""
        launches = sum(len(program.launches) for program in self.programs)
        return prod(map(len, self.axes)) * launches

    @property
    def fields(self) -> list[str]:
        """All that have an axis, in the file's order."""
        return [name for axis in self.axes for name in axis.names]

    @property
    def varied(self) -> list[str]:
        """Those that have more than one value."""
        return [name for axis in self.axes if len(axis) > 1 for name in axis.names]

    @property
    def told_apart_by(self) -> list[str]:
        """One field of each axis that has more than one value, the first; rows and cols both."""
        found = [axis.names for axis in self.axes if len(axis) > 1]
        return [n for names in found for n in names if n == names[0] or n in ("rows", "cols")]

    def changes(self) -> Iterator[dict[str, Any]]:
        """The changed fields of each chip, the last axis changing fastest."""
        for values in product(*self.axes):
            yield {name: value for part in values for name, value in part.items()}


def read_sweep(path: Path) -> Sweep:
    """The sweep that a file describes. Raises SweepError."""
    try:
        data = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise SweepError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SweepError(f"{path}: not a TOML file of a sweep: {error}") from None
    check_names(data, _KEYS, f"{path}")
    if not isinstance(text := data.get("config"), str):
        raise SweepError(f"{path}: config must be a preset or a TOML file of a chip, not {text!r}")
    base = text.split(",")[0]
    if base not in preset_names() and not Path(base).is_absolute():
        text = str(path.parent / text)
    try:
        load_config(text)
    except ValueError as error:
        raise SweepError(f"{path}: config: {error}") from None
    return Sweep(path, text, _axes(data, path), _programs(data, path))


def _axes(data: Mapping[str, Any], path: Path) -> tuple[Axis, ...]:
    single = table(data.get("fields", {}), f"{path}: fields")
    groups = tables(data.get("together", []), f"{path}: together")
    axes = [_axis(group, f"{path}: together") for group in groups]
    axes += [_axis({name: given}, f"{path}: fields") for name, given in single.items()]
    names = [name for axis in axes for name in axis.names]
    for name in names:
        if names.count(name) > 1:
            raise SweepError(f"{path}: field {name!r} has two axes")
    return tuple(axes)


def _axis(given: Mapping[str, Any], where: str) -> Axis:
    check_names(given, _TYPES, where)
    values = tuple(_values(name, entry, where) for name, entry in given.items())
    sizes = {name: len(part) for name, part in zip(given, values, strict=True)}
    if len(set(sizes.values())) != 1:
        text = ", ".join(f"{name} {size}" for name, size in sizes.items()) or "none"
        raise SweepError(f"{where}: fields must have equally many values, not {text}")
    return Axis(tuple(given), values)


def _values(name: str, given: Any, where: str) -> Values:
    where, kind = f"{where}.{name}", _TYPES[name]
    if not isinstance(given, list):
        if kind is not int:
            raise SweepError(f"{where} must be a list of texts, not {given!r}")
        return numbers(given, where)
    if not given:
        raise SweepError(f"{where} has no values: the grid is empty")
    for value in given:
        if type(value) is not kind or (kind is str and "," in value):
            wanted = "integers" if kind is int else "texts without commas"
            raise SweepError(f"{where} must have {wanted}, not {value!r}")
    return given


def _programs(data: Mapping[str, Any], path: Path) -> tuple[Program, ...]:
    given = tables(data.get("program", []), f"{path}: program")
    if not given:
        raise SweepError(f"{path}: no [[program]]: the grid is empty")
    found = tuple(read_program(entry, path) for entry in given)
    names = [program.name for program in found]
    for name in names:
        if names.count(name) > 1:
            raise SweepError(f"{path}: two programs are named {name!r}: give them names")
    return found
