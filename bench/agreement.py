"""Models against outputs that onnxruntime recorded: mean error of each, next tokens that agree.

    python bench/agreement.py tests/models
    python bench/agreement.py FOLDER --config edge

Of every folder below with a model.onnx and .npz files of arrays in_NAME and out_NAME, batches
included. The error is relative to the output's standard deviation; the caches are left out. A model
that is refused, or cannot take as many tokens at once on that chip, has the reason in its row.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from compiler.errors import CompileError
from compiler.pipeline import compile_file
from isa.config import ChipConfig, load_config
from sim.backends import make_backend
from sim.host import InputError
from sim.runtime import Session

CONTEXT = 64
_CACHES = "present"


def rows_of(folder: Path, config: ChipConfig) -> Iterator[tuple[str, ...]]:
    """File, output, batch, mean error in %, agreeing next tokens, for each recorded output."""
    session = Session(
        compile_file(folder / "model.onnx", config, CONTEXT), make_backend("functional")
    )
    for path in sorted(folder.glob("*.npz")):
        arrays = np.load(path)
        inputs = {name[3:]: arrays[name] for name in arrays if name.startswith("in_")}
        found = session.run(inputs)
        for name in (name[4:] for name in arrays if name.startswith("out_")):
            if name.startswith(_CACHES):
                continue
            got, wanted = found[name], arrays[f"out_{name}"]
            error = 100 * np.abs(got - wanted).mean() / wanted.std()
            same = (got.argmax(-1) == wanted.argmax(-1)).sum()
            tokens = f"{same} of {wanted[..., 0].size}" if name == "logits" else ""
            yield path.stem, name, str(wanted.shape[0]), f"{error:.2f}", tokens


def main() -> None:
    """Print a row for each recorded output."""
    plain = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--config", default="tiny")
    options = parser.parse_args()
    table = Table("model", "file", "output", "batch", "error in %", "next tokens")
    for path in sorted(options.folder.rglob("model.onnx")):
        name = str(path.parent.relative_to(options.folder))
        try:
            for row in rows_of(path.parent, load_config(options.config)):
                table.add_row(name, *row)
        except (CompileError, InputError) as error:
            table.add_row(name, "", str(error).removeprefix(f"{path}: "))
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
