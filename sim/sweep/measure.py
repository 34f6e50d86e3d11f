"""One point of a sweep on the cycle model; what a worker process does."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from compiler.errors import CompileError
from isa.config import ChipConfig
from isa.image import ProgramImage, load_image, save_image
from sim.cycle.estimate import Estimate
from sim.cycle.measure import Situation, time_trace, trace_to_time
from sim.cycle.model import CycleResult
from sim.cycle.profile import situation_of, utilisation
from sim.cycle.trace import FIELDS, KINDS, Trace
from sim.sweep.journal import Row
from sim.sweep.programs import Launch, Program

OK, IMPOSSIBLE, FAILED = "ok", "impossible", "failed"


def compile_to(program: Program, config: ChipConfig, target: Path, check: bool) -> Row:
    """Write a program for a chip to ``target``; what stands in the way as a part of a row."""
    try:
        image = program.image_for(config, check)
        target.parent.mkdir(parents=True, exist_ok=True)
        save_image(image, target)
    except (CompileError, ValueError) as error:
        return {"status": IMPOSSIBLE, "reason": str(error)}
    return {"status": OK, "reason": ""}


def measure(path: Path, config: ChipConfig, launch: Launch) -> Row:
    """Time of a launch of an image on its chip, or on one with another memory; a part of a row.
    ``bound``: by so many cycles an estimate may be off, 0 where all of it was simulated."""
    try:
        replace(_image(path), config=config)  # its memory may be too small
        trace = _trace(path, launch)
        timed = time_trace(trace, config)
    except ValueError as error:
        return {"status": IMPOSSIBLE, "reason": str(error)}
    result, bound = (timed.result, timed.bound) if isinstance(timed, Estimate) else (timed, 0)
    return {"status": OK, "reason": ""} | numbers_of(config, trace, result) | {"bound": bound}


@lru_cache(2)
def _image(path: Path) -> ProgramImage:
    return load_image(path)


@lru_cache(2)
def _trace(path: Path, launch: Launch) -> Trace:
    """No chip with another memory has another one."""
    situation = launch_of(_image(path), launch)
    return trace_to_time(situation.image, situation.hbm)


def launch_of(image: ProgramImage, launch: Launch) -> Situation:
    """What is in the chip before it."""
    return situation_of(image, launch.tokens or 1, launch.past)


def numbers_of(config: ChipConfig, trace: Trace, result: CycleResult) -> Row:
    """What is kept of a run. ``macs`` leave the array's padding out, ``bytes`` went through the
    memory's port; ``seconds`` and ``gigabytes_per_second`` are None where there is no clock."""
    cycles = result.cycles
    lines = result.counters["load_lines"] + result.counters["store_lines"]
    moved, macs = lines * config.line_bytes, macs_of(trace)
    seconds = cycles * config.hbm_mapping.generation.tck_ps / 1e12 if config.hbm else None
    shares = utilisation(config, cycles, result.counters, result.hbm)
    return {
        "cycles": cycles,
        "seconds": seconds,
        "macs": macs,
        "bytes": moved,
        "mac_utilisation": macs / (cycles * config.rows * config.cols),
        "gigabytes_per_second": moved / seconds / 1e9 if seconds else None,
        "in_use": shares,
        "classes": result.classes,
    }


def macs_of(trace: Trace) -> int:
    """Products that the program asks for."""
    commands = trace.commands
    times = np.bincount(trace.order, trace.times, len(commands)).astype(np.int64)
    of_array = commands[:, FIELDS["kind"]] == KINDS["Matmul"]
    sizes = np.prod([commands[:, FIELDS[name]] for name in ("m", "k", "n")], axis=0)
    return int((times * sizes)[of_array].sum())
