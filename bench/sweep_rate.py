"""How fast `jalapeno sweep` is: decode of Llama-3-8B on chips that differ in their HBM.

A few points are run, then more in the same folder, then still more, so that what jcc takes, what a
sweep's processes take to begin, and a point are told apart.
"""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from large import CONTEXT, WHOLE, without_weights
from measure import BIN, Line, command_cost

MODEL, PAST = "llama-3-8b", 8000
POINTS, WANTED_MINUTES, CORES = 1000, 10, 2
GENERATIONS = ("hbm3", "hbm3e")
DEPTHS = ((64,), (32, 64), (4, 8, 16, 32, 64))  # of the controllers' queues


def measure() -> Iterator[Line]:
    """Minutes that so many points take on two cores, jcc included, from those that were run."""
    with tempfile.TemporaryDirectory() as folder:
        first, few, more = (_cost(Path(folder), depths) for depths in DEPTHS)
    each = (more - few) / (len(GENERATIONS) * (len(DEPTHS[2]) - 2 * len(DEPTHS[1]) + 1))
    minutes = (first + (POINTS - len(GENERATIONS)) * each) / CORES / 60
    note = f"{each:.1f} CPU s a point, {first:.0f} for jcc and the first {len(GENERATIONS)}"
    what = f"{POINTS:,} points of decode of {MODEL}"
    yield Line("sweep", what, minutes, "minutes", WANTED_MINUTES, most=True, note=note)


def _cost(folder: Path, depths: tuple[int, ...]) -> float:
    """CPU seconds."""
    model = os.path.relpath(without_weights(MODEL), folder)
    file = folder / "sweep.toml"
    file.write_text(f"""
        config = "server,{WHOLE[MODEL]}"
        [fields]
        hbm = {list(GENERATIONS)}
        hbm_depth = {list(depths)}
        [[program]]
        file = "{model}"
        max_context = {CONTEXT[MODEL]}
        no_weights = true
        decode = [{PAST}]
    """)
    return command_cost([str(BIN / "jalapeno"), "sweep", str(file)]).cpu
