"""``jalapeno inspect``: what is in a program image, and what its nodes cost."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from isa.image import ProgramImage
    from sim.costs import Cost


def inspect(
    image: Annotated[Path, typer.Argument(help="Program image (.jx).", show_default=False)],
    tokens: Annotated[int, typer.Option(min=1, help="New tokens of the launch.")] = 1,
    past: Annotated[int, typer.Option(min=0, help="Tokens in the cache before it.")] = 0,
    top: Annotated[int, typer.Option(min=1, help="Nodes shown, the costliest first.")] = 20,
    node: Annotated[
        str | None, typer.Option(help="Show the instructions of nodes whose name contains this.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Everything, on stdout.")] = False,
) -> None:
    """Show a program: its parts in memory, and each ONNX node's instructions, products and bytes.

    Costs are those of one launch; cycles are the least that the busiest engine needs.

    Example: jalapeno inspect out.jx --tokens 16 --top 10
    """
    from isa.image import load_image
    from sim.costs import costs, regions, totals

    program = load_image(image)
    found = costs(program, tokens, past)
    if node is not None:
        _print_node(program, found, node)
    elif as_json:
        parts = [{"address": a, "bytes": n, "name": name} for a, n, name in regions(program)]
        nodes = [asdict(cost) | {"cycles": cost.cycles} for cost in found]
        data = {"meta": program.meta, "config": program.config.name, "tokens": tokens, "past": past}
        print(json.dumps(data | {"memory": parts, "nodes": nodes, "totals": totals(found)}))
    else:
        _print_all(program, image, found, top)


def _print_all(program: "ProgramImage", path: Path, found: "list[Cost]", top: int) -> None:
    from rich.table import Table

    from sim.costs import regions, totals
    from sim.report import console

    source, chunk = program.meta.get("source", "assembly text"), program.meta.get("chunk", 1)
    console.print(
        f"{path}: {source} for {program.config.name}, {len(program.ops())} instructions, "
        f"{program.hbm_bytes:,} bytes of memory, {chunk} tokens a pass"
    )
    memory = Table("address", "bytes", "what")
    for address, size, name in _merged(regions(program)):
        memory.add_row(f"0x{address:x}", size, name)
    table = Table("node", "instructions", "MACs", "read", "cycles", "busiest")
    for column in (*memory.columns[:2], *table.columns[1:5]):
        column.justify, column.no_wrap = "right", True
    for cost in sorted(found, key=lambda cost: -cost.cycles)[:top]:
        engines = {n: getattr(cost, f"{n}_cycles") for n in ("matrix", "memory", "vector")}
        busiest = max(engines, key=lambda name: engines[name]) if cost.cycles else ""
        counts = cost.macs, cost.hbm_read, cost.cycles
        place = f"{cost.first}…{cost.last}"
        table.add_row(cost.node or "(loops)", place, *map(_short, counts), busiest)
    sums = totals(found)
    table.add_section()
    table.add_row(f"all {len(found)}", "", _short(sums["macs"]), _short(sums["hbm_read"]), "", "")
    console.print(memory)
    console.print(table)


def _short(count: int) -> str:
    """In full below 10,000, else three digits and a unit."""
    if count < 10_000:
        return f"{count:,}"
    power = min((len(f"{float(f'{count:.3g}'):.0f}") - 1) // 3, 4)
    return f"{count / 1000**power:.3g} {' kMGT'[power]}"


def _merged(regions: "list[tuple[int, int, str]]") -> "Iterator[tuple[int, str, str]]":
    """Regions of one kind and size behind each other in one line: the layers' caches."""
    for (size, _), same in groupby(regions, lambda region: (region[1], region[2].split(" (")[-1])):
        parts = list(same)
        if len(parts) < 3:
            yield from ((address, f"{size:,}", name) for address, size, name in parts)
            continue
        first, last = parts[0][2].split(" (")[0], parts[-1][2]
        yield parts[0][0], f"{len(parts)} × {size:,}", f"{first} … {last}"


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
