"""The small HBM of the benches, and how it is handed to the simulator's process."""

import re
from dataclasses import asdict
from pathlib import Path

from isa.config import ChipConfig
from isa.hbm import PRESETS, HbmGeneration, HbmTiming, load_generation
from tb.configs import bench_config

ROWS = 64  # of a bank: 1 MiB in a pseudo-channel


def small_generation(name: str = "hbm3", **changes: int) -> HbmGeneration:
    """A generation with few rows; all times are its own unless ``changes`` says otherwise."""
    return load_generation(name).replace(rows=ROWS, **changes)


def generation_of(data: dict) -> HbmGeneration:
    """The inverse of `dataclasses.asdict`."""
    return HbmGeneration(**{**data, "timing": HbmTiming(**data["timing"])})


def to_parameters(generation: HbmGeneration) -> dict:
    """A generation in a bench's parameters."""
    return asdict(generation)


def hbm_config(folder: Path, refi: int | None = None, **changes: int | str) -> ChipConfig:
    """The benches' chip with a small HBM3, whose description is written to ``folder``; ``refi``:
    cycles between refreshes, if not the usual ones."""
    text = (PRESETS / "hbm3.toml").read_text()
    for field, value in {"rows": ROWS, "refi": refi}.items():
        if value is not None:
            text = re.sub(rf"(?m)^{field} = \d+", f"{field} = {value}", text)
    path = folder / "small.toml"
    path.write_text(text)
    wide = {"line_bytes": 64, "axi_bytes": 32, "hbm": str(path), "hbm_depth": 8}
    wide |= {"hbm_ecc": "none"}  # the benches' devices have no check bits
    return bench_config().replace(**{**wide, **changes})
