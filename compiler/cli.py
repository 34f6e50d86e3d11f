"""``jcc``: compile a transformer in ONNX to a program image."""

import json
from pathlib import Path
from typing import Annotated

import typer

from compiler.errors import CompileError
from isa.terminal import run as run_command_line

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")

EXAMPLES = """
Compile a transformer in ONNX for a chip: a decoder, an encoder such as BERT, or a vision model.

Examples:

    jcc model.onnx                                   # model.jx for the chip `tiny`

    jcc model.onnx -o out.jx --config small --max-context 256 --listing out.s

    jcc model.onnx --config my_chip.toml             # any configuration file

    jcc model.onnx --weights mxfp4 --weights '*lm_head*=int8'

    jcc model.onnx --config tiny,element=fp8 --activations fp8 --weights fp8 --kv fp8

    jcc model.onnx --slots 4 --tile 64               # four sequences at a time, pages of 64 keys

    jcc graph.onnx --static --bind N=3               # any graph of tensors of fixed shapes

    jcc llama-3-8b/model.onnx --no-weights --config server,hbm_stacks=2,hbm_channels=32

One image serves every prompt length and every position below --max-context.
"""


@app.command(help=EXAMPLES)
def compile_model(
    model: Annotated[Path, typer.Argument(help="ONNX file.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Program image; default: the model's name, .jx."),
    ] = None,
    config: Annotated[
        str, typer.Option(help="Preset (tiny, small, edge, server) or TOML file.")
    ] = "tiny",
    max_context: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Most tokens of a text; default: config.json's, else as many as it has positions.",
        ),
    ] = None,
    most: Annotated[
        list[str] | None,
        typer.Option(
            "--max", metavar="AXIS=N", help="A symbolic axis of the model is at most N. Repeatable."
        ),
    ] = None,
    bind: Annotated[
        list[str] | None,
        typer.Option(metavar="AXIS=N", help="A symbolic axis is N; of the batch only 1 works."),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[PATTERN=]FORMAT",
            help="Storage of products' weights: bf16 (default), fp8, int8, int4, mxfp8, mxfp4, "
            "nvfp4, auto (the narrowest that changes nothing); with a pattern, of the ONNX "
            "nodes that are named so. Repeatable, the last that fits counts.",
        ),
    ] = None,
    activations: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[PATTERN=]FORMAT",
            help="What is multiplied with weights: bf16 (default), fp8 or int8, each token with a "
            "scale of its own; fp8-static or int8-static, with calibrated ones. Repeatable, the "
            "last that fits counts. Chips with element = fp8 or int8 need fp8 or int8 here, in "
            "--weights and in --kv.",
        ),
    ] = None,
    kv: Annotated[
        str,
        typer.Option(
            metavar="FORMAT", help="Storage of the KV cache: bf16, fp8 (E4M3) or int8 (calibrated)."
        ),
    ] = "bf16",
    calibrate: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="For --kv int8 and static --activations: ids of typical tokens, text or .npy; the "
            "model reads them on the functional simulator, the largest numbers set the scales.",
        ),
    ] = None,
    no_weights: Annotated[
        bool,
        typer.Option(
            "--no-weights",
            help="For timing only: the program has no weights, and external data may be absent.",
        ),
    ] = False,
    slots: Annotated[
        int,
        typer.Option(
            min=0, help="Serve so many sequences at a time, each with positions of its own."
        ),
    ] = 0,
    pages: Annotated[
        int,
        typer.Option(
            min=0,
            help="With --slots: pages of the KV cache, each a tile of keys; default: enough for a "
            "whole context in each slot.",
        ),
    ] = 0,
    loops: Annotated[
        str,
        typer.Option(
            help="Layers that are alike become one loop: auto (long ones), always or never."
        ),
    ] = "auto",
    tile: Annotated[
        int,
        typer.Option(
            min=0,
            help="Keys of a layer in SRAM at a time, a power of two; default: those of the whole "
            "context if they fit, else as many as do.",
        ),
    ] = 0,
    static: Annotated[
        bool,
        typer.Option(
            help="Compile any graph of tensors of fixed shapes, not a language model; "
            "--bind AXIS=N fixes symbolic axes."
        ),
    ] = False,
    listing: Annotated[
        Path | None, typer.Option(help="Also write the program as assembly text.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Also write each ONNX node's fate and cost: .html or .json."),
    ] = None,
    check: Annotated[bool, typer.Option(help="Prove hazards, semaphores and bounds.")] = True,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing.")] = False,
) -> None:
    """Import, lower, schedule, check and write."""
    from rich.console import Console

    from compiler.axes import parse_axes
    from compiler.calibrate import read_ids
    from compiler.pipeline import compile_file
    from compiler.static.compile import compile_static_file
    from compiler.storage import IN_BF16, Activations, Choice, Storage
    from isa.config import load_config
    from isa.image import save_image
    from sim.inspect_cli import check_report, write_report

    if report:
        check_report(report)
    console = Console(stderr=True, quiet=quiet)
    target = output or model.with_suffix(".jx")
    with console.status("jcc") as status:
        chip = load_config(config)
        limits = parse_axes("--max", most or []) | parse_axes("--bind", bind or [])
        context = max_context or (None if limits else default_context(model))
        ids = read_ids(calibrate) if calibrate else ()
        choice = Choice.parse(weights or [])
        inside = Activations.parse(activations or [])
        storage = Storage(choice, kv, not no_weights, loops, slots, pages, ids, inside)

        def say(step: str) -> None:
            status.update(f"jcc: {step}")

        if static and storage != IN_BF16:
            raise ValueError(
                "--static computes in bf16: it has no formats, loops or slots to choose"
            )
        if static:
            image = compile_static_file(model, chip, limits)
        else:
            image = compile_file(model, chip, context, say, storage, limits, tile)
        if check:
            from sim.check import check_image

            status.update("jcc: check")
            check_image(image)
        if listing:
            from isa.assembler import disassemble
            from isa.files import whole_file

            with whole_file(listing) as file:
                file.write(disassemble(image).encode())
        save_image(image, target)
        if report:
            write_report(image, target, report)
    sizes = f"context {image.io.max_context}, {image.meta.get('chunk')} tokens a pass, "
    sizes += f"{image.meta['tile']} keys a tile, " if image.meta.get("tile") else ""
    sizes = "" if static else sizes
    console.print(
        f"{target}: {len(image.code) // 32} instructions, {image.hbm_bytes / 2**20:.1f} MiB "
        f"of memory, {sizes}configuration {chip.name}",
        highlight=False,
    )


def default_context(model: Path) -> int | None:
    """What a config.json beside the model says, if there is one."""
    try:
        data = json.loads((model.parent / "config.json").read_text())
        names = ("max_position_embeddings", "n_positions")
        return next((int(data[name]) for name in names if name in data), None)
    except (OSError, ValueError, TypeError):
        return None


def main() -> None:
    """Entry point: every mistake of the user is one line on stderr and exit status 1."""
    run_command_line(app, "jcc", (CompileError, ValueError))


if __name__ == "__main__":
    main()
