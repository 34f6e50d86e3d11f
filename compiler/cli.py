"""``jcc``: compile an ONNX decoder to a program image."""

import json
from pathlib import Path
from typing import Annotated

import typer

from compiler.errors import CompileError
from isa.terminal import run as run_command_line

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")

EXAMPLES = """
Compile a decoder language model (ONNX with KV cache) for a chip.

Examples:

    jcc model.onnx                                   # model.jx for the chip `tiny`

    jcc model.onnx -o out.jx --config small --max-context 256 --listing out.s

    jcc model.onnx --config my_chip.toml             # any configuration file

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
        typer.Option(min=1, help="Most tokens in the KV cache; default: config.json's, else 512."),
    ] = None,
    listing: Annotated[
        Path | None, typer.Option(help="Also write the program as assembly text.")
    ] = None,
    check: Annotated[bool, typer.Option(help="Prove hazards, semaphores and bounds.")] = True,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Print nothing.")] = False,
) -> None:
    """Import, lower, schedule, check and write."""
    from rich.console import Console

    from compiler.pipeline import compile_file
    from isa.config import load_config
    from isa.image import save_image

    console = Console(stderr=True, quiet=quiet)
    target = output or model.with_suffix(".jx")
    with console.status("jcc") as status:
        chip = load_config(config)
        context = max_context or default_context(model)
        image = compile_file(model, chip, context, lambda step: status.update(f"jcc: {step}"))
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
    console.print(
        f"{target}: {len(image.code) // 32} instructions, {image.hbm_bytes / 2**20:.1f} MiB "
        f"of memory, context {context}, {image.meta['chunk']} tokens a pass, "
        f"configuration {chip.name}",
        highlight=False,
    )


def default_context(model: Path) -> int:
    """max_position_embeddings of a config.json beside the model, else 512."""
    try:
        data = json.loads((model.parent / "config.json").read_text())
        return int(data["max_position_embeddings"])
    except (OSError, ValueError, KeyError, TypeError):
        return 512


def main() -> None:
    """Entry point: every mistake of the user is one line on stderr and exit status 1."""
    run_command_line(app, "jcc", (CompileError, ValueError))


if __name__ == "__main__":
    main()
