"""``jalapeno profile --report``: all that is known of launches, on one page."""

import html
import io
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, RenderableType

from isa.files import whole_file
from isa.image import ProgramImage
from sim.cycle.launches import Launch
from sim.cycle.profile import estimate_text, wide_table
from sim.cycle.roofline import draw_rooflines, need_matplotlib
from sim.report import classes_table

_WIDTH = 240  # characters: room for long names in one line
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font-family: sans-serif; margin: 2em; }}
pre {{ font-family: monospace; line-height: 1.2; overflow-x: auto; }}
svg {{ max-width: 100%; height: auto; }}
</style></head>
<body>
{body}
</body></html>
"""
_CODE = "<pre>{code}</pre>"


def need_page(path: Path) -> None:
    """ValueError where `write_page` would not know what to write, or with what."""
    if path.suffix != ".html":
        raise ValueError(f"{path}: a report ends in .html")
    need_matplotlib("--report")


def write_page(path: Path, image: ProgramImage, source: str, shown: Sequence[Launch]) -> None:
    """One file without any other: rooflines, then launch by launch what is in use, the classes of
    every engine's cycles, which add up to 100 %, and all layers and nodes."""
    title = f"{source} on {image.config.name}"
    drawn = io.BytesIO()
    draw_rooflines(drawn, "svg", image.config, shown)
    text = drawn.getvalue().decode()
    parts = [f"<h1>{html.escape(title)}</h1>", text[text.index("<svg") :]]
    for launch in shown:
        parts += _section(launch)
    with whole_file(path) as file:
        file.write(_PAGE.format(title=html.escape(title), body="\n".join(parts)).encode())


def _section(launch: Launch) -> list[str]:
    found = launch.found
    time = f", {1e6 * found.seconds:,.1f} µs" if found.seconds is not None else ""
    shares = ", ".join(f"{name} {share:.1%}" for name, share in found.utilisation.items())
    head = f"{found.cycles:,} cycles{time}, back end {found.backend}; in use: {shares}"
    if text := estimate_text(found):
        head += f"; {text}"
    nodes = sorted(found.nodes, key=lambda share: -share.cycles)
    return [
        f"<h2>{html.escape(launch.name)}</h2><p>{html.escape(head)}</p>",
        "<h3>Engines: where the cycles of each went, in %</h3>",
        _text(classes_table(found.classes)),
        "<h3>Layers</h3><p>Each cycle belongs to the oldest instruction that has not retired; the "
        "classes are in % of a row's own cycles. WS, OS: on an array without overlap.</p>",
        _text(wide_table("layer", found.layers, found.cycles)),
        "<h3>Nodes, the costliest first</h3>",
        _text(wide_table("node", nodes, found.cycles)),
    ]


def _text(table: RenderableType) -> str:
    console = Console(record=True, width=_WIDTH, file=io.StringIO(), highlight=False)
    console.print(table)
    return console.export_html(inline_styles=True, code_format=_CODE)
