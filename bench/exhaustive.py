"""`make exhaustive`: the special functions on every one of the 2^32 fp32 inputs, against float64.

    python bench/exhaustive.py                all inputs: about 20 minutes on 2 cores
    python bench/exhaustive.py --every 64     every 64th block of 2^20 inputs

Prints the greatest error in units of the last place of the exact value, and how often the value of
the next input lies on the wrong side (none: monotonic). Exit status 1 where a stated bound does
not hold.
"""

import argparse
import sys
from collections.abc import Callable
from multiprocessing import Pool
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from isa import special

BLOCK = 1 << 20
_EXACT: dict[str, Callable[[NDArray], NDArray]] = {
    "recip": lambda x: 1 / x,
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "exp2": np.exp2,
}
BOUNDS = {"recip": 1.0, "rsqrt": 1.0, "exp2": 1.0}  # as the docstrings of isa.special state them


class Finding(NamedTuple):
    """Of one block, or of many: inputs with a normal result, worst error and its input's bits,
    wrong steps, and inputs whose result has the wrong kind (zero, infinity, NaN, sign)."""

    count: int = 0
    error: float = 0.0
    worst: int = 0
    steps: int = 0
    kinds: int = 0

    def join(self, other: "Finding") -> "Finding":
        """Both together."""
        error, worst = max((self.error, self.worst), (other.error, other.worst))
        counts = self.count + other.count, self.steps + other.steps, self.kinds + other.kinds
        return Finding(counts[0], error, worst, counts[1], counts[2])


def examine(task: tuple[str, int]) -> Finding:
    """One function on the block of bit patterns from ``first`` on, and the first one behind it."""
    name, first = task
    stop = min(first + BLOCK + 1, 1 << 32)
    bits = np.arange(first, stop, dtype=np.int64).astype(np.uint32)
    x = bits.view(np.float32)
    with np.errstate(all="ignore"):
        y = getattr(special, name)(x)
        subnormal = np.abs(x) < 2.0**-126
        exact = _EXACT[name](np.where(subnormal, np.copysign(0.0, x), x).astype(np.float64))
        tiny = np.abs(exact) < 2.0**-126
        huge = np.abs(exact) >= 2.0**128
        kinds = np.where(tiny, 0.0, np.where(huge, np.copysign(np.inf, exact), exact))
        normal = ~tiny & ~huge & ~np.isnan(exact)
        # Rounding may reach the ends of the range from inside.
        wrong = ~normal & ~((y == kinds) | (np.isnan(y) & np.isnan(kinds)))
        wrong |= normal & ((np.sign(y) != np.sign(exact)) & (y != 0))
        wrong |= tiny & (np.signbit(y) != np.signbit(exact))
        unit = np.ldexp(1.0, np.frexp(exact)[1] - 24)
        edge = np.abs(exact) >= (2 - 2.0**-23) * 2.0**127  # may become infinite
        errors = np.where(normal & ~(edge & np.isinf(y)), np.abs(y - exact) / unit, 0.0)
        worst = int(np.argmax(errors[:BLOCK]))
        upwards = np.diff(y) < 0 if name == "exp2" and first < 1 << 31 else np.diff(y) > 0
        if name == "recip" and first >= 1 << 31:
            upwards = np.diff(y) < 0
    steps = int((upwards & ~np.isnan(np.diff(y))).sum())
    count = int(normal[:BLOCK].sum())
    return Finding(count, float(errors[worst]), first + worst, steps, int(wrong[:BLOCK].sum()))


def main() -> None:
    """Examine, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--every", type=int, default=1, help="only every n-th block")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    table = Table("function", "inputs", "with a normal result", "greatest error (ulp)", "at")
    table.add_column("steps backwards")
    table.add_column("wrong kind")
    failed = False
    for name in _EXACT:
        firsts = range(0, 1 << 32, BLOCK * options.every)
        total = Finding()
        with Pool(options.processes) as pool:
            tasks = [(name, first) for first in firsts]
            blocks = pool.imap_unordered(examine, tasks, chunksize=4)
            console = Console(stderr=True)
            for found in track(blocks, description=name, total=len(tasks), console=console):
                total = total.join(found)
        at = f"{np.uint32(total.worst).view(np.float32):.9g}"
        row = (f"{len(firsts) * BLOCK:,}", f"{total.count:,}", f"{total.error:.4f}", at)
        table.add_row(name, *row, f"{total.steps:,}", f"{total.kinds:,}")
        failed |= total.error > BOUNDS[name] or total.kinds > 0
    Console().print(table)
    sys.exit(failed)


if __name__ == "__main__":
    main()
