"""Where builds lie, and how processes share them."""

import fcntl
import hashlib
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]


def build_root() -> Path:
    """Folder of all builds: `$JALAPENO_BUILD`, or `build/` in the checkout."""
    chosen = os.environ.get("JALAPENO_BUILD")
    return Path(chosen).resolve() if chosen else ROOT / "build"


def digest(parts: Sequence[str]) -> str:
    """Short hash of texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock file, in a folder that is made if need be; another process that wants the same
    build waits and then finds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


_FLAGS = ("-std=c++20", "-shared", "-fPIC", "-fvisibility=hidden", "-fno-gnu-unique")


def build_library(name: str, what: str, sources: Sequence[Path], *flags: str) -> Path:
    """A shared library of C++, of the first of its sources: `name`-….so among the builds, made
    with g++ where it is missing. ValueError, which says ``what``, with the compiler's output."""
    options = [*_FLAGS, *flags]
    parts = [" ".join(options), *(path.read_text() for path in sources)]
    library = build_root() / f"{name}-{digest(parts)}.so"
    with locked(library.with_suffix(".lock")):
        if not library.exists():
            _compile(what, [*options, str(sources[0])], library)
    return library


def _compile(what: str, words: Sequence[str], library: Path) -> None:
    partial = library.with_suffix(f".{os.getpid()}")
    command = ["g++", *words, "-o", str(partial)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except FileNotFoundError:
        raise ValueError(f"building {what} needs g++, which is not installed") from None
    if done.returncode:
        end = "\n".join(done.stdout.decode(errors="replace").splitlines()[-30:])
        raise ValueError(f"building {what} failed at g++:\n{end}")
    partial.replace(library)
