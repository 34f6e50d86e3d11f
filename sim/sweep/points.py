"""The points of a sweep: a chip, a program, a launch, and the name under which each is known."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from isa.config import ChipConfig, load_config
from isa.hbm import GENERATIONS
from sim.builds import ROOT, digest
from sim.sweep.programs import Launch, Program
from sim.sweep.spec import Sweep

# Of these folders the sources decide what a point takes.
_SOURCES = ("isa", "compiler", "rtl", "sim")
_SUFFIXES = (".py", ".h", ".cpp", ".toml")


@dataclass(frozen=True)
class Point:
    """One launch of one program on one chip.

    ``config``: the chip; None where it can't exist, for a ``reason``. ``fields``: its fields, also
    then. ``chip``: its name, as `load_config` takes it. ``key``: the point's hash; ``program_key``:
    that of its compiled program, which chips share that differ in what no program depends on.
    """

    program: Program
    launch: Launch
    chip: str
    fields: dict[str, Any]
    config: ChipConfig | None
    reason: str
    key: str
    program_key: str

    @property
    def command(self) -> str:
        """What to type for this point alone."""
        return self.program.command(self.chip, self.launch)


def points_of(sweep: Sweep) -> Iterator[Point]:
    """All of them, program by program, chip by chip."""
    base = load_config(sweep.config)
    for program in sweep.programs:
        for changes in sweep.changes():
            chip = ",".join([sweep.config, *(f"{name}={value}" for name, value in changes.items())])
            data = base.to_dict() | changes | {"name": chip}
            config, reason = None, ""
            try:
                config = ChipConfig.from_dict(data, chip)
            except ValueError as error:
                reason = str(error).removeprefix(f"{chip}: configuration {chip!r}: ")
            own = config.digest() if config else chip
            made = digest([version(), program.content, own])
            for launch in program.launches:
                key = digest([made, json.dumps(_known(data)), str(launch)])
                yield Point(program, launch, chip, data, config, reason, key, made)


def _known(data: dict[str, Any]) -> dict[str, Any]:
    """The fields that count, sorted; of a generation from a file, what it says."""
    fields = {name: data[name] for name in sorted(data) if name != "name"}
    path = Path(str(data["hbm"]))
    if data["hbm"] not in GENERATIONS and path.is_file():
        fields["hbm"] = path.read_text(errors="replace")
    return fields


@cache
def version() -> str:
    """Hash of all sources that decide a result: those of other ones are not taken for these."""
    files = [
        path
        for folder in _SOURCES
        for path in sorted((ROOT / folder).rglob("*"))
        if path.suffix in _SUFFIXES and "sweep" not in path.parts
    ]
    return digest([text for path in files for text in (path.name, path.read_text())])
