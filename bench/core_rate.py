"""The RTL of a 16 x 16 core: how busy its array is, and how fast it simulates.

Products from SRAM, without the memory: what the matrix unit itself reaches.
"""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measure import Line, Stopwatch

from isa.config import ChipConfig, load_config
from isa.formats import ACTIVATIONS, FORMATS
from isa.program import Op, encode_program
from sim.rtl import RtlCore

SIZE = 256  # M = K = N
BUSY_PERCENT = 97
CLOCK_KHZ = {"int8": 100, "bf16": 40, "fp8": None}
BUILD_SECONDS = 240
PARTS = 4  # parts of N, each within the accumulators


def measure(folder: Path, quick: bool) -> Iterator[Line]:
    """All elements of the array; the build is a fresh one."""
    previous = os.environ.get("JALAPENO_BUILD")
    os.environ["JALAPENO_BUILD"] = str(folder)
    try:
        for element in ("bf16",) if quick else CLOCK_KHZ:
            yield from _chip(load_config(f"small,element={element}"))
    finally:
        os.environ.pop("JALAPENO_BUILD")
        if previous is not None:
            os.environ["JALAPENO_BUILD"] = previous


def _chip(config: ChipConfig) -> Iterator[Line]:
    before = _cpu_seconds()
    core = RtlCore(config)
    wanted = BUILD_SECONDS
    note = "elaborate, verilate, compile"
    yield Line("build", config.name, _cpu_seconds() - before, "CPU s", wanted, True, note)
    dice = np.random.default_rng(1)
    core.sram = dice.integers(0, 64, config.sram_bytes, dtype=np.uint8)  # no NaN in any format
    own = {"bf16": "bf16", "fp8": "e4m3", "int8": "i8"}[config.element]
    watch = Stopwatch()
    cycles, busy = _run(core, _products(config, own, SIZE, PARTS), watch)
    rows = SIZE * (SIZE // config.rows) * (SIZE // config.cols)
    what = f"{config.name}, M = K = N = {SIZE}"
    yield Line("array busy", what, 100 * rows / busy, "%", BUSY_PERCENT, note=f"{busy:,} cycles")
    clock = cycles / watch.seconds / 1000
    wanted_clock = CLOCK_KHZ[config.element]
    note = "whole core, one thread, the array at work"
    yield Line("RTL clock", config.name, clock, "kHz", wanted_clock, note=note)
    for name, entry in FORMATS.items():
        if config.element in entry.arrays:
            yield _tiles(core, name)


def _tiles(core: RtlCore, name: str) -> Line:
    """Cycles from tile to tile at M = 1, weights packed."""
    config = core.config
    _, busy = _run(core, _products(config, name, 1, 1), Stopwatch())
    tiles = (SIZE // config.rows) * (SIZE // config.cols)
    entry = FORMATS[name]
    scales = f", {max(1, config.rows // entry.block)} line of scales each" if entry.block else ""
    wanted = max(config.rows, config.cols)
    what = f"{config.name}, {name} weights, M = 1"
    note = f"from SRAM{scales}; wanted max(R, C)"
    return Line("tile period", what, busy / tiles, "cycles", wanted, most=True, note=note)


def _products(config: ChipConfig, name: str, m: int, parts: int) -> list[Op]:
    """M x 256 times 256 x 256 in ``parts`` pieces of N, weights packed behind A."""
    entry, cols = FORMATS[name], config.cols
    astride = config.element_bytes * SIZE
    line = config.line_bytes
    scales = SIZE // entry.block * cols * entry.scale_bytes if entry.block else 0
    row = entry.bytes_of(cols)
    wpanel = -(-scales // line) * line + SIZE * row
    fields = {"a": 0, "astride": astride, "wstride": row, "wpanel": wpanel, "m": m, "k": SIZE}
    fields |= {"n": SIZE // parts, "af": ACTIVATIONS[config.element][0], "wf": name}
    start, step = SIZE * astride, wpanel * (SIZE // parts // cols)
    return [Op("matmul", fields | {"w": start + part * step}) for part in range(parts)]


def _run(core: RtlCore, ops: list[Op], watch: Stopwatch) -> tuple[int, int]:
    """All cycles of the program, and those in which the matrix unit had something to do."""
    code = encode_program([*ops, Op("halt")])
    memory = np.zeros(1 << 16, np.uint8)
    memory[: len(code)] = np.frombuffer(code, np.uint8)
    result = watch.time(core.run, memory, 0, len(ops) + 1)
    return result.cycles, result.cycles - result.classes["matrix"]["idle"]


def _cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)
