"""Where builds lie, and how processes share them."""

import fcntl
import hashlib
import os
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
