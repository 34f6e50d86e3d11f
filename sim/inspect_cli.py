"""``jalapeno inspect``: what is in a program image, and what its nodes cost."""

import io
import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from isa.image import ProgramImage
    from sim.costs import Cost

_BAR = 24  # characters of the widest bar in a report


def inspect(
    image: Annotated[Path, typer.Argument(help="Program image (.jx).", show_default=False)],
    tokens: Annotated[int, typer.Option(min=1, help="New tokens of the launch.")] = 1,
    past: Annotated[int, typer.Option(min=0, help="Tokens in the cache before it.")] = 0,
    top: Annotated[int, typer.Option(min=1, help="Nodes shown, the costliest first.")] = 20,
    node: Annotated[
        str | None, typer.Option(help="Show the instructions of nodes whose name contains this.")
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option(help="Say what became of ONNX nodes whose name contains this, and why."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, on stdout.")] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write all nodes to an .html or .json file.")
    ] = None,
) -> None:
    """Show a program: its parts in memory, and each ONNX node's instructions, products and bytes.

    Costs are those of one launch; cycles are the least that the busiest engine needs.

    Example: jalapeno inspect out.jx --tokens 16 --top 10
    """
    from isa.image import load_image
    from sim.costs import costs
    from sim.report import console

    program = load_image(image)
    found = costs(program, tokens, past)
    if node is not None:
        _print_node(program, found, node)
    elif explain is not None:
        _explain(program, found, explain)
    elif report is not None:
        write_report(program, image, report, tokens, past)
    elif as_json:
        print(json.dumps(_everything(program, found, tokens, past)))
    else:
        _print_all(console, program, image, found, top)


def write_report(
    program: "ProgramImage", image: Path, target: Path, tokens: int = 1, past: int = 0
) -> None:
    """All that is known of a program and its launch, as .html for people or .json for scripts."""
    from rich.console import Console

    from isa.files import whole_file
    from sim.costs import costs

    found = costs(program, tokens, past)
    check_report(target)
    if target.suffix == ".json":
        text = json.dumps(_everything(program, found, tokens, past), indent=1)
    else:
        page = Console(record=True, width=160, file=io.StringIO(), highlight=False)
        _print_all(page, program, image, found, len(found), bars=True)
        page.print(_fates(program))
        text = page.export_html(inline_styles=True)
    with whole_file(target) as file:
        file.write(text.encode())


def check_report(target: Path) -> None:
    """InputError where `write_report` would not know what to write."""
    from sim.host import InputError

    if target.suffix not in (".html", ".json"):
        raise InputError(f"{target}: a report ends in .html or .json")


def _everything(
    program: "ProgramImage", found: "list[Cost]", tokens: int, past: int
) -> dict[str, object]:
    from sim.costs import regions, totals

    parts = [{"address": a, "bytes": n, "name": name} for a, n, name in regions(program)]
    nodes = [asdict(cost) | {"cycles": cost.cycles} for cost in found]
    data = {"meta": program.meta, "config": program.config.name, "tokens": tokens, "past": past}
    return data | {"memory": parts, "nodes": nodes, "totals": totals(found)}


def _print_all(
    console: "Console",
    program: "ProgramImage",
    path: Path,
    found: "list[Cost]",
    top: int,
    bars: bool = False,
) -> None:
    from rich.table import Table

    from sim.costs import regions, totals

    config, meta = program.config, program.meta
    source, chunk = meta.get("source", "assembly text"), meta.get("chunk", 1)
    console.print(
        f"{path}: {source} for {config.name}, {len(program.ops())} instructions, "
        f"{program.hbm_bytes:,} bytes of memory, {chunk} tokens a pass"
    )
    if "sram_peak" in meta:
        console.print(f"SRAM: {meta['sram_peak']:,} of {config.sram_bytes:,} bytes")
    memory = Table("address", "bytes", "what", *(["share"] if bars else []))
    parts = regions(program)
    largest = max((size for _, size, _ in parts), default=1)
    for address, size, text, name in _merged(parts):
        bar = ["█" * max(1, round(_BAR * size / largest))] if bars else []
        memory.add_row(f"0x{address:x}", text, name, *bar)
    table = Table("node", "instructions", "MACs", "read", "cycles", "busiest")
    for column in (*memory.columns[:2], *table.columns[1:5]):
        column.justify, column.no_wrap = "right", True
    if bars:
        table.add_column("cycles")
    most = max((cost.cycles for cost in found), default=0) or 1
    for cost in sorted(found, key=lambda cost: -cost.cycles)[:top]:
        engines = {n: getattr(cost, f"{n}_cycles") for n in ("matrix", "memory", "vector")}
        busiest = max(engines, key=lambda name: engines[name]) if cost.cycles else ""
        counts = cost.macs, cost.hbm_read, cost.cycles
        row = [cost.node or "(loops)", f"{cost.first}…{cost.last}", *map(_short, counts), busiest]
        if bars:
            row.append("█" * round(_BAR * cost.cycles / most))
        table.add_row(*row)
    sums = totals(found)
    table.add_section()
    table.add_row(f"all {len(found)}", "", _short(sums["macs"]), _short(sums["hbm_read"]), "", "")
    console.print(memory)
    console.print(table)


def _fates(program: "ProgramImage") -> "Table":
    from rich.table import Table

    table = Table("ONNX node", "what became of it")
    fates = program.meta.get("fates", {})
    assert isinstance(fates, dict)
    for name, fate in fates.items():
        table.add_row(name, fate)
    return table


def _short(count: int) -> str:
    """In full below 10,000, else three digits and a unit."""
    if count < 10_000:
        return f"{count:,}"
    power = min((len(f"{float(f'{count:.3g}'):.0f}") - 1) // 3, 4)
    return f"{count / 1000**power:.3g} {' kMGT'[power]}"


def _merged(regions: "list[tuple[int, int, str]]") -> "Iterator[tuple[int, int, str, str]]":
    """Address, bytes, bytes in words, name; regions of one kind and size behind each other, as the
    layers' caches are, in one line."""
    for (size, _), same in groupby(regions, lambda region: (region[1], region[2].split(" (")[-1])):
        parts = list(same)
        if len(parts) < 3:
            yield from ((address, size, f"{size:,}", name) for address, size, name in parts)
            continue
        first, last = parts[0][2].split(" (")[0], parts[-1][2]
        text = f"{len(parts)} × {size:,}"
        yield parts[0][0], len(parts) * size, text, f"{first} … {last}"


def _explain(program: "ProgramImage", found: "list[Cost]", text: str) -> None:
    from sim.host import InputError
    from sim.report import console

    fates = program.meta.get("fates", {})
    assert isinstance(fates, dict)
    chosen = {name: fate for name, fate in fates.items() if text in name}
    if not chosen:
        raise InputError(f"no ONNX node's name contains {text!r}: --report lists them all")
    for name, fate in chosen.items():
        console.print(f"{name}: {fate}")
        for cost in found:
            if name in cost.node:
                console.print(
                    f"    instructions {cost.first} to {cost.last}, with {cost.node}: "
                    f"{cost.macs:,} MACs, {cost.hbm_read:,} bytes read"
                )


def _print_node(program: "ProgramImage", found: "list[Cost]", text: str) -> None:
    from isa.assembler import branch_labels
    from isa.syntax import format_op
    from sim.host import InputError
    from sim.report import console

    chosen = [cost for cost in found if text in cost.node]
    if not chosen:
        raise InputError(f"no node's name contains {text!r}: `jalapeno inspect` lists them")
    ops = program.ops()
    labels = branch_labels(ops)
    for cost in chosen:
        console.print(
            f"{cost.node}: {cost.macs:,} MACs, {cost.hbm_read:,} bytes read, "
            f"{cost.hbm_written:,} written, at least {cost.cycles:,} cycles"
        )
        for index in range(cost.first, cost.last + 1):
            if program.node_of(index) == cost.node:
                print(f"{index:6} {format_op(ops[index], labels)}")
