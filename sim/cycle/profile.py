"""``jalapeno profile``: where a launch's cycles go, on the cycle model or on the RTL."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from rich.box import SIMPLE
from rich.table import Table

from isa.config import ChipConfig
from isa.counters import CYCLE_CLASSES
from isa.hbm import BURST_CYCLES
from isa.image import ProgramImage
from sim.cycle.estimate import Estimate
from sim.cycle.measure import Situation, on_rtl, time_trace, trace_to_time
from sim.cycle.record import Record
from sim.cycle.shares import Costs, Share, layer_shares, node_shares
from sim.host import Host, InputError
from sim.report import console, print_cycle_classes

BACKENDS = ("cycle", "rtl")
_SEED = 1


@dataclass(frozen=True)
class Profile:
    """One launch. ``utilisation``: shares of ``cycles``: rows entering the array, its padding
    included; vectors issued; lines moved between SRAM and memory, of what the memory's port takes;
    columns of the HBM's pins. ``classes``: engine → class → cycles, which add up to ``cycles``.
    ``nodes``, ``layers``: whose the cycles are, see `sim.cycle.shares`. ``record``: when each
    instruction retires, None where that was not simulated; ``estimate`` then says how many cycles
    were, and by how many all of it may be off: ``simulated``, ``bound``."""

    backend: str
    configuration: str
    cycles: int
    seconds: float | None  # None with the simple memory, which has no clock
    utilisation: dict[str, float]
    classes: dict[str, dict[str, int]]
    nodes: list[Share]
    layers: list[Share]
    record: Record | None
    estimate: dict[str, int] | None


def situation_of(image: ProgramImage, tokens: int, past: int) -> Situation:
    """A launch with so many tokens behind ``past`` others, of which only the number counts; of a
    program that is no model, the program. Raises InputError where they do not fit."""
    memory = image.memory()
    if past and not image.io.causal:
        raise InputError("an encoder has no past tokens")
    if image.io.is_model:
        host = Host(image, memory)
        host.past = past
        host.prepare(np.random.default_rng(_SEED).integers(0, host.vocabulary, tokens))
    return Situation(image, memory)


def profile(
    image: ProgramImage, tokens: int, past: int, backend: str, exact: bool = False
) -> Profile:
    """Run a launch; a long one is estimated by the cycle model unless ``exact``. Raises ValueError,
    InputError, SimulationError."""
    if backend not in BACKENDS:
        raise ValueError(f"--backend must be one of {', '.join(BACKENDS)}, not {backend!r}")
    situation, on_chip = situation_of(image, tokens, past), backend == "rtl"
    trace = trace_to_time(image, situation.hbm, exact or on_chip)
    record: Record | None = None if trace.repeats else Record.of_trace(trace)
    run = on_rtl(situation, record) if on_chip else time_trace(trace, image.config, exact, record)
    estimated = {}
    costs: Costs | None = record
    if isinstance(run, Estimate):
        estimated = {"simulated": run.simulated, "bound": run.bound}
        costs, record, run = run, None, run.result
    assert costs is not None
    config, cycles = image.config, run.cycles
    seconds = cycles * config.hbm_mapping.generation.tck_ps / 1e12 if config.hbm else None
    shares = utilisation(config, cycles, run.counters, run.hbm)
    nodes = node_shares(image, trace, costs)
    return Profile(
        backend,
        config.name,
        cycles,
        seconds,
        shares,
        run.classes,
        nodes,
        layer_shares(nodes),
        record,
        estimated or None,
    )


def utilisation(
    config: ChipConfig, cycles: int, counters: Mapping[str, int], hbm: Mapping[str, int]
) -> dict[str, float]:
    """Shares of ``cycles``, as `Profile` has them, from what a run has counted."""
    lines = counters["load_lines"] + counters["store_lines"]
    shares = {
        "array": counters["matrix_rows"] / cycles,
        "vector unit": counters["vector_vectors"] / cycles,
        "memory port": lines * config.line_bytes / (cycles * config.axi_bytes),
    }
    if hbm:
        columns = hbm["reads"] + hbm["writes"]
        shares["HBM pins"] = columns * BURST_CYCLES / (cycles * config.pseudo_channels)
    return shares


def print_profile(found: Profile, top: int = 20, wide: bool = False) -> None:
    """Tables; of the nodes the ``top`` that have most cycles. ``wide``: all classes, which add up
    to 100 %, and the products on an array without overlap."""
    time = f", {1e6 * found.seconds:,.1f} µs" if found.seconds is not None else ""
    console.print(f"{found.configuration}: {found.cycles:,} cycles{time} ({found.backend})")
    if text := estimate_text(found):
        console.print(f"{text}; --exact simulates all")
    shares = (f"{name} {share:.1%}" for name, share in found.utilisation.items())
    console.print("in use: " + ", ".join(shares))
    print_cycle_classes(found.classes)
    table = wide_table if wide else _table
    console.print(table("layer", found.layers, found.cycles))
    nodes = sorted(found.nodes, key=lambda share: -share.cycles)
    console.print(table("node", nodes[:top], found.cycles))
    if len(nodes) > top:
        console.print(f"{len(nodes) - top} more nodes: --top shows them, --json all")
    if not wide:
        console.print("--wide: all classes, and products on an array without overlap")


def estimate_text(found: Profile) -> str:
    """How an estimate was made, and what it is worth; "" of a run that was simulated."""
    if not found.estimate:
        return ""
    simulated, bound = found.estimate["simulated"], found.estimate["bound"]
    return (
        f"estimated from {simulated:,} cycles that were simulated, ± {bound:,} "
        f"({bound / found.cycles:.2%})"
    )


def _table(what: str, shares: Sequence[Share], cycles: int) -> Table:
    """Cycles, their share of the run, the engine that had most of its work; how much of the cycles
    that was busy in, and what it waited for most."""
    table = Table(what, "cycles", "%", "pole", "busy %", "waits most for", box=SIMPLE)
    for share in shares:
        own = share.cycles
        parts = {name: 100 * count / own for name, count in share.classes.items()} if own else {}
        busy = parts.pop("busy", 0)
        reason = max(parts, key=lambda name: parts[name], default="")
        waits = f"{reason} {parts[reason]:.0f} %" if parts and parts[reason] >= 0.5 else ""
        start = f"{own:,}", f"{100 * own / cycles:.1f}", share.longest_pole
        table.add_row(share.name, *start, f"{busy:.0f}", waits)
    return _aligned(table)


def wide_table(what: str, shares: Sequence[Share], cycles: int) -> Table:
    """The longest pole with its cycles, every class but `idle`, which is nobody's, closed forms."""
    classes = [name for name in CYCLE_CLASSES if name != "idle"]
    table = Table(what, "cycles", "%", "longest pole", *classes, "WS", "OS", box=SIMPLE)
    for share in shares:
        own, pole = share.cycles, share.longest_pole
        kinds = (f"{100 * share.classes[name] / own:.0f}" if own else "" for name in classes)
        forms = (f"{count:,}" if count else "" for count in share.without_overlap.values())
        busy = f"{pole} {share.busy(pole):,}" if pole else ""
        table.add_row(share.name, f"{own:,}", f"{100 * own / cycles:.1f}", busy, *kinds, *forms)
    return _aligned(table)


def _aligned(table: Table) -> Table:
    """Names over several lines where they are long, numbers to the right."""
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    return table


def to_json(found: Profile) -> str:
    """The members of `Profile` but the record."""
    shares = {name: [s.to_dict() for s in getattr(found, name)] for name in ("nodes", "layers")}
    rest = {name: value for name, value in vars(found).items() if name != "record"}
    return json.dumps(rest | shares, indent=1)
