"""Many architectures, as torch's exporters write them: jcc's programs against onnxruntime.

    python bench/architectures.py [--exporter dynamo] [--docs docs/architectures.md] [NAME ...]

Each is a model of two layers with random weights, exported here, compiled for `tiny`, and run on
the functional simulator. Needs torch, transformers and onnxscript: `pip install -e '.[exporters]'`.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
from architecture_sizes import DECODERS, ENCODERS, PAST, TOKENS, VISION, VOCABULARY
from exported import EXPORTERS, export
from rich.console import Console
from rich.table import Table

from compiler.errors import CompileError
from compiler.pipeline import compile_file
from isa.config import load_config
from sim.backends import make_backend
from sim.builds import build_root
from sim.runtime import Session

CONTEXT = 100


def feed(session: onnxruntime.InferenceSession) -> dict[str, np.ndarray]:
    """Random inputs by name, a past where the model has one."""
    random, values = np.random.default_rng(1), {}
    past = PAST if any(x.name.startswith("past") for x in session.get_inputs()) else 0
    for x in session.get_inputs():
        if x.name.startswith("past"):
            shape = (1, x.shape[1], past, x.shape[3])
            values[x.name] = random.standard_normal(shape).astype(np.float32)
        elif x.name == "attention_mask":
            values[x.name] = np.ones((1, past + TOKENS), np.int64)
        elif len(x.shape) == 4:  # an image
            values[x.name] = random.standard_normal(x.shape).astype(np.float32)
        elif x.name == "position_ids":
            values[x.name] = np.arange(past, past + TOKENS)[None]
        else:
            values[x.name] = random.integers(3, VOCABULARY, (1, TOKENS))
    return values


def agreement(model: Path) -> str:
    """Mean |error| of each output but the caches, relative to its deviation; or the refusal.

    Raises what onnxruntime does where it cannot run the graph: there is nothing to agree with.
    """
    session = onnxruntime.InferenceSession(model)
    inputs = feed(session)
    expected = session.run(None, inputs)
    try:
        image = compile_file(model, load_config("tiny"), CONTEXT)
    except CompileError as error:
        return str(error).removeprefix(f"{model}: ")
    actual = Session(image, make_backend("functional")).run(inputs)
    errors = []
    for output, wanted in zip(session.get_outputs(), expected, strict=True):
        if not output.name.startswith("present"):
            errors.append(np.abs(actual[output.name] - wanted).mean() / wanted.std())
    return ", ".join(f"{error:.2%}" for error in errors)


def compare(names: list[str], exporters: list[str]) -> Iterator[tuple[str, str, str]]:
    """Architecture, exporter, and what came out."""
    for name in names:
        for exporter in exporters:
            if name in ENCODERS | VISION and exporter == "dynamo-cache":
                continue
            folder = build_root() / "architectures" / name.replace(", ", "-") / exporter
            try:
                if not (folder / "model.onnx").exists():
                    export(name, exporter, folder)
                result = agreement(folder / "model.onnx")
            except Exception:  # exporters raise anything, as onnxruntime does
                result = "not exported"
            yield name, exporter, result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, prog="python bench/architectures.py")
    parser.add_argument("names", nargs="*", help="architectures, by default all")
    parser.add_argument("--exporter", action="append", choices=EXPORTERS, help="repeatable")
    parser.add_argument("--docs", type=Path, help="Markdown file to write")
    options = parser.parse_args()
    every = [*DECODERS, *ENCODERS, *VISION]
    if unknown := set(options.names) - set(every):
        parser.error(f"{', '.join(sorted(unknown))}: known are {', '.join(every)}")
    exporters, console = options.exporter or list(EXPORTERS), Console()
    table, rows = Table("architecture", *exporters), dict[str, dict[str, str]]()
    with console.status("exporting"):
        for name, exporter, result in compare(options.names or every, exporters):
            rows.setdefault(name, {})[exporter] = result
            console.print(f"{name}, {exporter}: {result}", highlight=False)
    for name, results in rows.items():
        table.add_row(name, *(results.get(exporter, "") for exporter in exporters))
    console.print(table)
    if options.docs:
        options.docs.write_text(_markdown(rows, exporters))


def _markdown(rows: dict[str, dict[str, str]], exporters: list[str]) -> str:
    lines = [
        "# Architectures",
        "",
        "Models of two layers with random weights, exported by torch, compiled for `tiny`, run on",
        "the functional simulator: mean |error| of each output against onnxruntime in fp32,",
        "relative to the output's standard deviation. `dynamo-cache` has a KV cache as inputs;",
        '"not exported": the exporter itself fails, or its graph does in onnxruntime. Made by',
        "`python bench/architectures.py --docs docs/architectures.md`.",
        "",
        f"| architecture | {' | '.join(exporters)} |",
        f"|---|{'---|' * len(exporters)}",
    ]
    for name, results in rows.items():
        cells = (results.get(exporter, "").replace("|", "\\|") for exporter in exporters)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
