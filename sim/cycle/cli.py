"""``jalapeno validate`` and ``jalapeno profile``: their options."""

from pathlib import Path
from typing import Annotated

import typer


def validate(
    config: Annotated[
        list[str] | None,
        typer.Option(help="Preset or TOML file, with changes. Repeatable; default: the suite's."),
    ] = None,
    programs: Annotated[int, typer.Option(min=0, help="Random programs for each chip.")] = 35,
    folder: Annotated[
        Path | None, typer.Option(help="Assembly programs; those that are for a chip run on it.")
    ] = None,
    model: Annotated[
        list[Path] | None,
        typer.Option(help="A model's image (.jx), which runs on its own chip. Repeatable."),
    ] = None,
    tokens: Annotated[str, typer.Option(help="Tokens of each of a model's launches.")] = "9,1",
    report: Annotated[Path | None, typer.Option(help="Markdown file to write.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All rows on stdout.")] = False,
) -> None:
    """Compare the cycle model with the RTL, program by program.

    The RTL of every chip is built first, which takes a minute or more for each.

    Example: jalapeno validate --config tiny --programs 20 --folder programs
    """
    import sys

    from sim.cycle.validate import print_rows, to_json, write_report

    counts = _counts(tokens)
    rows = [*_on_chips(config, programs, folder), *_on_models(model or [], counts)]
    if not rows:
        raise ValueError("nothing to compare: no program fits these chips")
    print_rows(rows)
    if report is not None:
        given = " ".join(sys.argv[1:])
        write_report(report, rows, f"jalapeno {given}")
    if as_json:
        print(to_json(rows))


def _counts(tokens: str) -> list[int]:
    parts = tokens.split(",")
    if not all(part.isdecimal() and int(part) for part in parts):
        raise ValueError(f"--tokens must be numbers of at least 1 with commas, not {tokens!r}")
    return [int(part) for part in parts]


def _on_chips(names: list[str] | None, programs: int, folder: Path | None) -> list:
    from isa.config import load_config
    from sim.build_rtl import build_model
    from sim.cycle.suite import CHIPS, product_entries, random_entries, written_entries
    from sim.cycle.validate import measure
    from sim.report import console, track

    if folder is not None and not folder.is_dir():
        raise ValueError(f"{folder}: no such folder of assembly programs")
    rows = []
    for config in [load_config(name) for name in names or CHIPS]:
        with console.status(f"building the RTL of {config.name}, once"):
            build_model(config)
        entries = [*random_entries(config, programs), *product_entries(config)]
        entries += written_entries(folder, config) if folder else []
        rows += list(track(measure(config, entries), len(entries), config.name))
    return rows


def _on_models(paths: list[Path], counts: list[int]) -> list:
    from isa.image import load_image
    from sim.cycle.suite import model_entries
    from sim.cycle.validate import measure

    rows = []
    for seed, path in enumerate(paths):
        image = load_image(path)
        rows += list(measure(image.config, model_entries(path.stem, image, counts, seed)))
    return rows


def profile(
    image: Annotated[Path, typer.Argument(help="Program image (.jx).", show_default=False)],
    tokens: Annotated[int, typer.Option(min=1, help="New tokens of the launch.")] = 1,
    past: Annotated[int, typer.Option(min=0, help="Tokens in the cache before it.")] = 0,
    backend: Annotated[str, typer.Option(help="cycle or rtl.")] = "cycle",
    config: Annotated[
        str | None,
        typer.Option(help="Preset or TOML file of the chip it was made for, with any memory."),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Nodes shown, the costliest first.")] = 20,
    wide: Annotated[
        bool, typer.Option("--wide", help="All classes, and products on an array without overlap.")
    ] = False,
    trace: Annotated[
        Path | None, typer.Option(help="Timeline to write, for https://ui.perfetto.dev (.json).")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Roofline to write (.svg, .png, .pdf), of prefill and decode apart."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Page to write (.html): roofline and every table.")
    ] = None,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Simulate all of a long launch, as --trace does."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="An object on stdout.")] = False,
) -> None:
    """Show where the cycles of a launch go: engine by engine, layer by layer, node by node.

    --plot and --report have a decoder's other half as well: the step behind a prefill, or the
    prefill before a step.

    Example: jalapeno profile out.jx --tokens 1 --past 100 --trace timeline.json
    """
    from dataclasses import replace

    from isa.config import load_config
    from isa.image import load_image, require_config
    from sim.cycle.launches import launches
    from sim.cycle.page import need_page, write_page
    from sim.cycle.perfetto import write_trace
    from sim.cycle.profile import print_profile, profile as measure, to_json
    from sim.cycle.roofline import need_plots, write_rooflines

    if trace is not None and (trace.is_dir() or not trace.parent.is_dir()):
        raise ValueError(f"{trace}: --trace must be a file in a folder that exists")
    if plot is not None:
        need_plots(plot)
    if report is not None:
        need_page(report)
    program = load_image(image)
    if config is not None:
        require_config(program, load_config(config), str(image))
        program = replace(program, config=load_config(config))
    found = measure(program, tokens, past, backend, exact or trace is not None)
    if trace is not None and found.record is not None:
        write_trace(trace, program, found.record)
    if plot is not None or report is not None:
        shown = list(launches(program, tokens, past, found, exact))
        if plot is not None:
            write_rooflines(plot, program.config, shown)
        if report is not None:
            write_page(report, program, str(image), shown)
    print_profile(found, top, wide)
    if as_json:
        print(to_json(found))
