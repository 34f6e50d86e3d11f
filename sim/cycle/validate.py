"""``jalapeno validate``: the cycle model against the RTL, row by row."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from isa.config import ChipConfig
from sim.cycle.measure import on_model, on_rtl
from sim.cycle.suite import Entry
from sim.report import console

_MOST_TIMES = 10  # as many cycles as the RTL: a model that hangs ends
_HELD_OUT = {False: "seen", True: "held out"}


@dataclass(frozen=True)
class Row:
    """One program on one chip.

    ``class_error``: of all engines and classes, the greatest difference of cycles, as a share of
    the RTL's total; ``equal``: cycles, classes, counters, refused accesses and commands to the HBM.
    """

    program: str
    configuration: str
    held_out: bool
    rtl_cycles: int
    model_cycles: int
    class_error: float
    equal: bool

    @property
    def error(self) -> float:
        """Of the model's cycles, relative."""
        return (self.model_cycles - self.rtl_cycles) / self.rtl_cycles


def measure(config: ChipConfig, entries: Iterable[Entry]) -> Iterator[Row]:
    """Run each program on both. Raises SimulationError and Trap as the machines do."""
    for entry in entries:
        situation = entry.situation()
        rtl = on_rtl(situation)
        model = on_model(situation, _MOST_TIMES * rtl.cycles)
        worst = max(
            abs(model.classes[engine][name] - cycles)
            for engine, classes in rtl.classes.items()
            for name, cycles in classes.items()
        )
        commands = {name: rtl.hbm[name] for name in model.hbm}
        same = (rtl.cycles, rtl.classes, rtl.conflicts, rtl.counters, commands)
        yield Row(
            entry.program,
            config.name,
            entry.held_out,
            rtl.cycles,
            model.cycles,
            worst / rtl.cycles,
            same == (model.cycles, model.classes, model.conflicts, model.counters, model.hbm),
        )


def mean_error(rows: Sequence[Row]) -> float:
    """Mean of the absolute relative errors; 0 of no rows."""
    return sum(abs(row.error) for row in rows) / len(rows) if rows else 0.0


def max_error(rows: Sequence[Row]) -> float:
    """The greatest absolute relative error; 0 of no rows."""
    return max((abs(row.error) for row in rows), default=0.0)


def to_json(rows: Sequence[Row]) -> str:
    """An object: both errors, and the rows."""
    found = {"mean_abs_error": mean_error(rows), "max_abs_error": max_error(rows)}
    return json.dumps({**found, "rows": [asdict(row) for row in rows]}, indent=1)


def print_rows(rows: Sequence[Row]) -> None:
    """Every row, then the halves."""
    table = Table("program", "configuration", "half", "RTL", "model", "error", "classes", box=None)
    for column in table.columns[3:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*_cells(row))
    console.print(table)
    for line in _summary(rows):
        console.print(line)


def write_report(path: Path, rows: Sequence[Row], command: str) -> None:
    """The same as Markdown, whole or not at all."""
    head = "| program | configuration | half | RTL | model | error | classes |"
    body = ["| " + " | ".join(_cells(row)) + " |" for row in rows]
    lines = [
        "# Accuracy of the cycle model",
        "",
        f"Made by `{command}`.",
        "",
        "Cycles from start to `halt` on the RTL, and in the model. `classes` is the greatest",
        "difference of any class of any engine (`isa.counters.CYCLE_CLASSES`), of all cycles. The",
        "model has no number that was fitted: it counts with the chip's configuration, with",
        "`rtl/timing.py`, from which the RTL is built as well, and with the HBM's generation.",
        "Programs that are held out are marked: nothing may be adjusted by them.",
        "",
        *_summary(rows),
        "",
        head,
        "|---|---|---|--:|--:|--:|--:|",
        *body,
    ]
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text("\n".join(lines) + "\n")
    partial.replace(path)


def _cells(row: Row) -> list[str]:
    half, cycles = _HELD_OUT[row.held_out], (f"{row.rtl_cycles:,}", f"{row.model_cycles:,}")
    errors = f"{row.error:+.3%}" if row.error else "0", f"{row.class_error:.3%}"
    return [row.program, row.configuration, half, *cycles, errors[0], errors[1]]


def _summary(rows: Sequence[Row]) -> list[str]:
    lines = []
    for name, of in (
        ("all", rows),
        ("seen", [row for row in rows if not row.held_out]),
        ("held out", [row for row in rows if row.held_out]),
    ):
        classes = max((row.class_error for row in of), default=0.0)
        lines.append(
            f"- {name}: {len(of)} pairs, {sum(row.equal for row in of)} equal in every count; "
            f"mean error {mean_error(of):.4%}, greatest {max_error(of):.4%}, "
            f"of a class {classes:.4%} of all cycles"
        )
    return lines
