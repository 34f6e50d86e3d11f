"""`make demo` and `make test` in a new clone of what is committed, with nothing installed or built.

What is left of this machine: its system packages and pip's download cache.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from measure import ROOT, Line, command_cost

WANTED_MINUTES = {"demo": 10, "test": 25}  # on 2 cores


def measure(folder: Path) -> Iterator[Line]:
    """Both commands, each in a clone of its own, which sets itself up first."""
    env = {name: value for name, value in os.environ.items() if name != "JALAPENO_BUILD"}
    for target, wanted in WANTED_MINUTES.items():
        clone = folder / target
        subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
        cost = command_cost(["make", "-C", str(clone), target], env)
        note = f"setup included; {cost.cpu / 60:.1f} CPU minutes"
        yield Line("fresh clone", f"make {target}", cost.wall / 60, "minutes", wanted, True, note)
