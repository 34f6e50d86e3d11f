"""What the command line prints about runs; on stderr, results go to stdout."""

from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import Progress, TimeElapsedColumn
from rich.table import Table

from isa.config import ChipConfig
from isa.counters import COUNTERS, CYCLE_CLASSES, HBM_COUNTERS, HBM_LATENCIES
from isa.hbm import BURST_CYCLES
from isa.table import Engine
from sim.errors import SimulationError
from sim.runtime import Session
from sim.slots import Slots
from sim.verify import Comparison

_Run = TypeVar("_Run")
console = Console(stderr=True, highlight=False)


def instructions(counters: Mapping[str, int]) -> int:
    """Instructions of all engines."""
    return sum(counters[f"{engine.name.lower()}_instructions"] for engine in Engine)


def macs(config: ChipConfig, counters: Mapping[str, int]) -> int:
    """Multiplications that the array made, its padding included."""
    return counters["matrix_rows"] * config.rows * config.cols


def hbm_bytes(config: ChipConfig, counters: Mapping[str, int]) -> int:
    """Bytes that the load and store engines moved."""
    return (counters["load_lines"] + counters["store_lines"]) * config.line_bytes


def print_counters(counters: Mapping[str, int], cycles: int) -> None:
    """A table of all counters, and the cycles where there are any."""
    table = Table("counter", "value", "meaning")
    table.columns[1].justify = "right"
    for name, meaning in COUNTERS.items():
        table.add_row(name, f"{counters[name]:,}", meaning)
    if cycles:
        table.add_row("cycles", f"{cycles:,}", "clock cycles from start to halt")
    console.print(table)


def print_cycle_classes(classes: Mapping[str, Mapping[str, int]]) -> None:
    """Where the cycles of each engine went, in percent; nothing for back ends without time."""
    if classes:
        console.print(classes_table(classes))


def classes_table(classes: Mapping[str, Mapping[str, int]]) -> Table:
    """A row for each engine, in percent, which add up to 100."""
    table = Table("cycles in %", *CYCLE_CLASSES)
    for engine, cycles in classes.items():
        total = sum(cycles.values()) or 1
        shares = [f"{100 * cycles[name] / total:.1f}" for name in CYCLE_CLASSES]
        table.add_row(engine, *shares)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def print_hbm(config: ChipConfig, hbm: Mapping[str, int], cycles: int) -> None:
    """What the HBM controllers counted, and bandwidth; nothing for chips and back ends without."""
    if not hbm:
        return
    table = Table("HBM", "value", "meaning")
    table.columns[1].justify = "right"
    for name, meaning in {**HBM_COUNTERS, **HBM_LATENCIES}.items():
        if hbm.get(name) or (name in HBM_COUNTERS and name in hbm):
            table.add_row(name, f"{hbm[name]:,}", meaning)
    columns = hbm["reads"] + hbm["writes"]
    share = columns * BURST_CYCLES / (cycles * config.pseudo_channels)
    generation = config.hbm_mapping.generation
    speed = share * config.pseudo_channels * generation.peak_bytes_per_second / 1e9
    name = f"{config.pseudo_channels} pseudo-channels of {generation.name}"
    table.add_row("bandwidth", f"{share:.1%}", f"of the pin rate of {name}: {speed:.1f} GB/s")
    console.print(table)


def track(runs: Iterable[_Run], count: int, what: str) -> Iterator[_Run]:
    """The same, with a progress bar."""
    with Progress(*Progress.get_default_columns(), TimeElapsedColumn(), console=console) as bar:
        yield from bar.track(runs, total=count, description=what)


def print_speed(session: Session, seconds: float) -> None:
    """One line about a generation."""
    tokens, counters = session.past, session.counters
    cycles = f", {session.cycles:,} cycles" if session.cycles else ""
    console.print(
        f"{tokens} tokens in {seconds:.2f} s ({tokens / seconds:.1f} a second, prompt included), "
        f"{instructions(counters):,} instructions{cycles}, "
        f"{macs(session.image.config, counters):,} MACs"
    )


def print_served(slots: Slots, texts: int, seconds: float) -> None:
    """One line about several texts."""
    cycles = f", {slots.cycles:,} cycles" if slots.cycles else ""
    console.print(
        f"{texts} texts, {slots.tokens} tokens in {seconds:.2f} s ({slots.tokens / seconds:.1f} a "
        f"second, prompts included), {slots.runs} launches{cycles}"
    )


def print_comparisons(config: ChipConfig, comparisons: Iterable[Comparison]) -> None:
    """A table with a row for each compared run; SimulationError for the first difference."""
    headings = ("instr.", "MACs", "SRAM bytes", "HBM bytes", "cycles", "result")
    table = Table(box=SIMPLE, pad_edge=False)
    table.add_column("run", no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    difference = None
    for run in comparisons:
        counters, cycles = run.first.counters, run.second.cycles
        difference = run.difference
        table.add_row(
            run.name,
            f"{instructions(counters):,}",
            f"{macs(config, counters):,}",
            f"{run.sram_bytes:,}",
            f"{hbm_bytes(config, counters):,}",
            f"{cycles:,}",
            "differs" if difference else "identical",
        )
    console.print(table)
    if difference:
        raise SimulationError(difference)
