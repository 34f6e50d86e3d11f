"""Matrix products beside SCALE-Sim 3, another open simulator of systolic arrays: cycles, and time.

    python3 -m venv build/peers && build/peers/bin/pip install scalesim 'numpy<2.3'
    python bench/peers.py

It lives in an environment of its own: it needs an older NumPy. SCALE-Sim times the array alone, one
tile after another, with operands that are there when they are wanted; so its cycles are the closed
forms that `jalapeno profile --wide` shows beside a node's own. The cycle model here overlaps the
weights of a tile with the rows of the one before, and counts what memory, SRAM and the vector unit,
which takes the results away, cost on top.
"""

import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from isa.config import load_config
from sim.builds import ROOT
from sim.cycle.follow import follow
from sim.cycle.model import run_trace
from sim.cycle.products import product
from sim.cycle.shares import without_overlap

PYTHON = ROOT / "build" / "peers" / "bin" / "python"
HINT = "python3 -m venv build/peers && build/peers/bin/pip install scalesim 'numpy<2.3'"
# Chip, M, and tiles of K and N: rectangular ones, then squares.
PRODUCTS = (
    ("edge", 96, 5, 3),
    ("edge", 256, 8, 8),
    ("server", 64, 3, 2),
    ("server", 512, 4, 4),
    ("server", 1024, 8, 8),
)
_CONFIG = """
[general]
run_name = run
[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
[architecture_presets]
ArrayHeight = {rows}
ArrayWidth = {cols}
ifmapsramszkB = 16384
filtersramszkB = 16384
ofmapsramszkB = 16384
IfmapOffset = 0
FilterOffset = 10000000
OfmapOffset = 20000000
Dataflow = {dataflow}
ReadRequestBuffer = 64
WriteRequestBuffer = 64
[layout]
IfmapCustomLayout = False
FilterCustomLayout = False
IfmapSRAMBankBandwidth = 10
IfmapSRAMBankNum = 10
IfmapSRAMBankPort = 2
FilterSRAMBankBandwidth = 10
FilterSRAMBankNum = 10
FilterSRAMBankPort = 2
[sparsity]
SparsitySupport = false
"""


def peer(rows: int, cols: int, dataflow: str, m: int, k: int, n: int) -> tuple[int, float]:
    """Cycles of the array, and CPU seconds, start of its interpreter included."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = _CONFIG.format(rows=rows, cols=cols, dataflow=dataflow)
        (folder / "run.cfg").write_text(text)
        (folder / "sizes.csv").write_text(f"Layer,M,N,K,\nproduct,{m},{n},{k},\n")
        (folder / "layout.csv").write_text("Layer,\nproduct" + 19 * ",1" + "\n")
        files = ("-c", "run.cfg", "-t", "sizes.csv", "-l", "layout.csv")
        words = [PYTHON, "-m", "scalesim.scale", *files, "-i", "gemm", "-s", "N", "-p", "."]
        before = os.times()
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
        after = os.times()
        report = folder / "run" / "COMPUTE_REPORT.csv"
        if not report.exists():
            raise SystemExit(f"scalesim failed: {done.stdout[-500:]} {done.stderr[-500:]}")
        (line,) = csv.DictReader(report.open(), skipinitialspace=True)
    seconds = sum(after[2:4]) - sum(before[2:4])  # of children
    return int(line["Total Cycles"]), seconds


def own(name: str, m: int, tiles: int, panels: int) -> tuple[int, float]:
    """Cycles from memory to memory, and CPU seconds."""
    config = load_config(name)
    image = product(config, m, tiles, panels)
    start = time.process_time()
    found = run_trace(follow(image, image.memory()), config)
    return found.cycles, time.process_time() - start


def main() -> None:
    """Print a row for each product; exit status 1 where a closed form is not SCALE-Sim's count."""
    if not PYTHON.exists():
        print(f"skipped: scalesim is not installed; {HINT}", file=sys.stderr)
        return
    table = Table("M × K × N", "array", "dataflow", "scalesim", "closed form", "CPU s", box=None)
    for heading in ("Jalapeño, with HBM", "of them at the array's peak", "CPU s", "faster"):
        table.add_column(heading)
    for column in table.columns[3:]:
        column.justify = "right"
    wrong = 0
    own("edge", 8, 1, 1)  # builds the model
    for name, m, tiles, panels in PRODUCTS:
        config = load_config(name)
        k, n = tiles * config.rows, panels * config.cols
        cycles, seconds = own(name, m, tiles, panels)
        for dataflow, closed in without_overlap(config.rows, config.cols, m, k, n).items():
            theirs, theirs_seconds = peer(config.rows, config.cols, dataflow, m, k, n)
            wrong += theirs != closed
            ideal = f"{m * tiles * panels / cycles:.1%}"
            table.add_row(
                *(f"{m} × {k} × {n}", f"{config.rows}×{config.cols}", dataflow),
                *(f"{theirs:,}", f"{closed:,}", f"{theirs_seconds:.2f}"),
                *(f"{cycles:,}", ideal, f"{seconds:.3f}", f"{theirs_seconds / seconds:,.0f} times"),
            )
    Console(width=150).print(table)
    if wrong:
        raise SystemExit(f"{wrong} closed forms are not SCALE-Sim's count")


if __name__ == "__main__":
    main()
