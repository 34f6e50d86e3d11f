"""Small sweeps, for tests."""

import json
from pathlib import Path

from typer.testing import CliRunner

from sim.builds import ROOT
from sim.cli import app

MODEL = ROOT / "tests" / "models" / "stories260k" / "optimum_op18" / "model.onnx"
MATMUL = ROOT / "programs" / "matmul.s"


def program(path: Path = MATMUL, rest: str = "") -> str:
    """A [[program]]."""
    return f'[[program]]\nfile = "{path}"\n{rest}\n'


def model(rest: str) -> str:
    """A [[program]] of a small model."""
    return program(MODEL, f'name = "stories"\nmax_context = 32\n{rest}')


def written(folder: Path, text: str, config: str = "tiny") -> Path:
    """A file of a sweep."""
    path = folder / "sweep.toml"
    path.write_text(f'config = "{config}"\n{text}')
    return path


def sweep(*options: object) -> str:
    """What the command prints on stdout. Raises its exception."""
    result = CliRunner().invoke(app, ["sweep", *map(str, options), "--jobs", "1"])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def rows(*options: object) -> list[dict]:
    """All rows that it prints."""
    return json.loads(sweep(*options, "--json"))
