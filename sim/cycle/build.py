"""The cycle model's library: one for all chips, built with g++ where it is missing."""

import os
import subprocess
from pathlib import Path

from sim.builds import build_root, digest, locked

SOURCE = Path(__file__).with_name("model.cpp")
_FLAGS = ("-std=c++20", "-O3", "-shared", "-fPIC", "-fvisibility=hidden", "-fno-gnu-unique")


def build_model() -> Path:
    """The library. Raises ValueError with the compiler's output."""
    sources = [SOURCE, *sorted(SOURCE.parent.glob("*.h"))]
    parts = [" ".join(_FLAGS), *(path.read_text() for path in sources)]
    library = build_root() / "cycle" / f"model-{digest(parts)}.so"
    with locked(library.with_suffix(".lock")):
        if not library.exists():
            _compile(library)
    return library


def _compile(library: Path) -> None:
    partial = library.with_suffix(f".{os.getpid()}")
    command = ["g++", *_FLAGS, str(SOURCE), "-o", str(partial)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except FileNotFoundError:
        raise ValueError("building the cycle model needs g++, which is not installed") from None
    if done.returncode:
        end = "\n".join(done.stdout.decode(errors="replace").splitlines()[-30:])
        raise ValueError(f"building the cycle model failed at g++:\n{end}")
    partial.replace(library)
