"""What building the hardware costs: SystemVerilog of each preset, the verilated `tiny`."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from measure import BIN, Cost, Line, command_cost

from isa.config import load_config, preset_names

VERILATE_SECONDS = 120  # wanted of `tiny`, CPU, without elaboration
ELABORATE_SECONDS = 60  # wanted of the largest preset, wall
CPU_LIMIT = 600  # of one elaboration
QUICK_PRESETS = ("tiny",)

_BUILD = """
from isa.config import load_config
from sim.build_rtl import build_model
print(build_model(load_config("tiny")))
"""


def elaboration(folder: Path, quick: bool) -> Iterator[Line]:
    """`jalapeno verilog` of every preset."""
    for name in QUICK_PRESETS if quick else preset_names():
        target = folder / name
        command = [str(BIN / "jalapeno"), "verilog", "--config", name, "-o", str(target)]
        cost = command_cost(command, cpu_limit=CPU_LIMIT)
        yield _elaborated(name, cost, target)


def _elaborated(name: str, cost: Cost, target: Path) -> Line:
    config = load_config(name)
    what = f"{name}, {config.rows}×{config.cols}"
    if not cost.finished:
        return Line("elaborate", what, None, "wall s", note=f"over {CPU_LIMIT} CPU s: stopped")
    size = sum(path.stat().st_size for path in target.iterdir()) / 1e6
    note = f"{cost.cpu:.1f} CPU s, {cost.peak_bytes / 1e9:.1f} GB, {size:.1f} MB of SystemVerilog"
    return Line("elaborate", what, cost.wall, "wall s", ELABORATE_SECONDS, most=True, note=note)


def verilation(folder: Path) -> Iterator[Line]:
    """A fresh build of the core's simulator, nothing cached."""
    env = os.environ | {"JALAPENO_BUILD": str(folder)}
    cost = command_cost([sys.executable, "-c", _BUILD], env)
    (report,) = folder.glob("rtl/tiny-*/build_seconds")
    seconds = float(report.read_text())
    note = f"with elaboration {cost.cpu:.0f} CPU s"
    yield Line("verilate", "tiny", seconds, "CPU s", VERILATE_SECONDS, most=True, note=note)
