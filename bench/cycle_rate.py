"""How fast the cycle model is: CPU time of one core, traces included."""

import time
from collections.abc import Iterator

from measure import Line

from isa.config import load_config
from isa.image import ProgramImage
from sim.cycle.follow import follow
from sim.cycle.model import run_trace
from sim.cycle.products import product

PRODUCT_MS = 20
GROUP = "cycle model"


def measure(quick: bool) -> Iterator[Line]:
    """A product of 1024³ from HBM to HBM on `server`, with HBM in detail and with simple memory."""
    for memory in ("hbm3e", "")[: 1 if quick else None]:
        config = load_config("server").replace(hbm=memory)
        size = 1024
        image = product(config, size, size // config.rows, size // config.cols)
        seconds, cycles = _time(image)
        note = f"{cycles:,} cycles, {1e9 * seconds / cycles:.0f} ns each"
        what = f"1024³ on server, {memory or 'simple memory'}"
        yield Line(GROUP, what, 1e3 * seconds, "ms", PRODUCT_MS, most=True, note=note)


def _time(image: ProgramImage) -> tuple[float, int]:
    """CPU seconds and the program's cycles; the best of three, the first of which may build."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        found = run_trace(follow(image, image.memory()), image.config)
        best = min(best, time.process_time() - start)
    return best, found.cycles
