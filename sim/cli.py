"""``jalapeno``: run, inspect and verify program images. Heavy modules load where needed."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from isa.terminal import run as run_command_line
from sim.cycle.cli import profile, validate
from sim.fuzz_cli import fuzz
from sim.hbm_cli import hbm
from sim.inspect_cli import inspect
from sim.sweep.cli import sweep

if TYPE_CHECKING:
    from isa.image import ProgramImage
    from sim.backends import Backend

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    help="Run programs of the Jalapeño chip: functional simulator, cycle model, RTL.",
)
ImageFile = Annotated[Path, typer.Argument(help="Program image (.jx).", show_default=False)]
BackendName = Annotated[str, typer.Option("--backend", help="functional, rtl or cycle.")]
Chip = Annotated[
    str | None,
    typer.Option(
        "--config", help="Preset or TOML file of the chip it was made for, with any memory."
    ),
]
Trace = Annotated[
    Path | None, typer.Option(help="VCD file for the RTL's waveforms (GTKWave, Surfer).")
]


def _load(path: Path, config: str | None) -> "ProgramImage":
    """The image, with the memory of ``config`` if that is named; ImageError if the image was made
    for another chip."""
    from isa.config import load_config
    from isa.image import load_image, require_config

    image = load_image(path)
    if config is not None:
        wanted = load_config(config)
        require_config(image, wanted, str(path))
        image = replace(image, config=wanted)  # its memory may be another
    return image


def _backend(name: str, image: "ProgramImage", trace: Path | None = None) -> "Backend":
    """The back end; the RTL of a configuration is built here, visibly, if it is used first."""
    from sim.backends import make_backend

    backend = make_backend(name, trace)
    if name == "rtl":
        from sim.build_rtl import build_model
        from sim.report import console

        what = f"the RTL of configuration {image.config.name}"
        with console.status(f"building {what}, once: a minute for tiny, more for larger ones"):
            build_model(image.config, trace is not None)
    return backend


@app.command()
def run(
    image: ImageFile,
    inputs: Annotated[
        Path | None, typer.Option(help=".npz with arrays named as in the ONNX file.")
    ] = None,
    outputs: Annotated[Path | None, typer.Option(help=".npz to write.")] = None,
    backend: BackendName = "functional",
    config: Chip = None,
    trace: Trace = None,
) -> None:
    """Run once: ONNX inputs to ONNX outputs.

    Programs without a model (from `asm`) take no inputs; their outputs are hbm, sram and acc.

    Example: jalapeno run out.jx --inputs in.npz --outputs out.npz
    """
    from sim import report
    from sim.arrays import read, write
    from sim.files import read_arrays, write_arrays
    from sim.host import InputError
    from sim.runtime import Session

    program = _load(image, config)
    chip = _backend(backend, program, trace)
    if program.io.is_model:
        if inputs is None:
            raise InputError(f"{image}: a model needs --inputs IN.npz")
        session = Session(program, chip)
        arrays = session.run(read_arrays(inputs))
        report.print_counters(session.counters, session.cycles)
        report.print_cycle_classes(session.classes)
        report.print_hbm(program.config, session.hbm_counters, session.cycles)
    else:
        if inputs is not None and not program.io.arrays:
            raise InputError(f"{image}: the program has no model inputs: leave out --inputs")
        hbm = program.memory()
        if program.io.arrays:
            write(program.io, hbm, read_arrays(inputs) if inputs else {})
        chip.load(program, hbm)
        result = chip.run()
        memories: dict = {"hbm": hbm, "sram": chip.sram, "acc": chip.acc}
        arrays = read(program.io, hbm) if program.io.arrays else memories
        report.print_counters(result.counters, result.cycles)
        report.print_cycle_classes(result.classes)
        report.print_hbm(program.config, result.hbm, result.cycles)
    if outputs:
        write_arrays(outputs, arrays)


@app.command()
def generate(
    image: ImageFile,
    tokenizer: Annotated[Path, typer.Option(help="tokenizer.json.", show_default=False)],
    prompt: Annotated[
        list[str],
        typer.Option(
            help="Text to continue. Repeat it for several texts at once, of a program compiled "
            "with --slots.",
            show_default=False,
        ),
    ],
    tokens: Annotated[int, typer.Option(min=1, help="Most tokens to write.")] = 64,
    launch: Annotated[
        int,
        typer.Option(
            min=1,
            help="Tokens that the program chooses by itself before the host reads them; 1: the "
            "host chooses each one from its logits.",
        ),
    ] = 1,
    backend: BackendName = "functional",
    config: Chip = None,
) -> None:
    """Write text, greedily, as it is computed; of several texts, each as it ends.

    Example: jalapeno generate out.jx --tokenizer tokenizer.json --prompt "Once upon" --tokens 64
    """
    import time

    from sim import report
    from sim.generate import load_tokenizer, stream_text
    from sim.host import InputError
    from sim.runtime import Session
    from sim.serve import write_texts

    program, text = _load(image, config), load_tokenizer(tokenizer)
    if not program.io.causal:
        raise InputError(f"{image}: the program is an encoder's: it writes no text")
    if len(prompt) > 1 and (launch > 1 or not program.io.slots):
        wanted = "a --launch of 1" if program.io.slots else "a program compiled with --slots"
        raise InputError(f"{image}: several --prompt need {wanted}")
    start = time.perf_counter()
    if len(prompt) > 1:
        slots = write_texts(program, _backend(backend, program), text, prompt, tokens)
        report.print_served(slots, len(prompt), time.perf_counter() - start)
        return
    session = Session(program, _backend(backend, program))
    for piece in stream_text(session, text, prompt[0], tokens, launch):
        print(piece, end="", flush=True)
    print(flush=True)
    report.print_speed(session, time.perf_counter() - start)


@app.command()
def verify(
    image: ImageFile,
    steps: Annotated[int, typer.Option(min=0, help="Decode steps after the prefill.")] = 8,
    launch: Annotated[
        int, typer.Option(min=0, help="Instead: one run that chooses so many tokens itself.")
    ] = 0,
    prompt: Annotated[
        str | None, typer.Option(help="Text to prefill instead of random tokens.")
    ] = None,
    tokenizer: Annotated[Path | None, typer.Option(help="tokenizer.json for --prompt.")] = None,
    config: Chip = None,
    trace: Trace = None,
) -> None:
    """Compare functional simulator and RTL bit by bit: SRAM, accumulators, HBM, counters.

    Exit status 1 and the first difference, with its ONNX node, if there is one.

    Example: jalapeno verify out.jx --steps 8
    """
    from sim import report
    from sim.generate import load_tokenizer, prompt_ids
    from sim.host import InputError
    from sim.verify import verify as compare

    program, ids = _load(image, config), None
    if (prompt is None) != (tokenizer is None):
        raise InputError("--prompt and --tokenizer go together")
    if prompt is not None and tokenizer is not None:
        ids = prompt_ids(load_tokenizer(tokenizer), prompt, program.io.max_context)
    pair = _backend("functional", program), _backend("rtl", program, trace)
    with report.console.status("comparing"):
        compared = list(compare(program, pair, steps, ids, launch))
    report.print_comparisons(program.config, compared)


@app.command()
def check(image: ImageFile) -> None:
    """Prove that no hazard is unguarded, no semaphore deadlocks, no address is illegal.

    `jcc` does this for what it compiles. Exit status 1 and the first fault, if there is one.

    Example: jalapeno check out.jx
    """
    from isa.image import load_image
    from sim.check import check_image
    from sim.report import console

    commands = check_image(load_image(image))
    console.print(f"{image}: {commands:,} commands checked, no fault")


@app.command()
def asm(
    source: Annotated[Path, typer.Argument(help="Assembly text (.s).", show_default=False)],
    output: Annotated[Path, typer.Option("-o", "--output", help="Program image to write.")],
    config: Annotated[
        str | None, typer.Option(help="Preset or TOML file, instead of the text's .config.")
    ] = None,
) -> None:
    """Assemble a program.

    Example: jalapeno asm programs/vector.s -o build/vector.jx
    """
    from isa.assembler import assemble_file
    from isa.config import load_config
    from isa.image import save_image

    save_image(assemble_file(source, load_config(config) if config else None), output)


@app.command()
def disasm(
    image: ImageFile,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="File to write, instead of the terminal.")
    ] = None,
) -> None:
    """Show a program as assembly text, with the ONNX nodes as comments.

    Example: jalapeno disasm out.jx | less
    """
    from isa.assembler import disassemble
    from isa.files import whole_file
    from isa.image import load_image

    text = disassemble(load_image(image))
    if output is None:
        print(text, end="")
        return
    with whole_file(output) as file:
        file.write(text.encode())


@app.command()
def verilog(
    output: Annotated[Path, typer.Option("-o", "--output", help="Directory to write to.")],
    config: Annotated[str, typer.Option(help="Preset or TOML file.")] = "tiny",
) -> None:
    """Write the chip, the core and its host's registers, as SystemVerilog.

    Example: jalapeno verilog --config tiny -o build/rtl
    """
    from isa.config import load_config
    from rtl.chip import Chip
    from rtl.emit import write_design

    for path in write_design(Chip(load_config(config)), "jalapeno_chip", output):
        print(path)


app.command()(fuzz)
app.command()(hbm)
app.command()(profile)
app.command()(validate)
app.command()(inspect)
app.command()(sweep)


def main() -> None:
    """Entry point: every mistake of the user is one line on stderr and exit status 1."""
    run_command_line(app, "jalapeno", (ValueError,))


if __name__ == "__main__":
    main()
