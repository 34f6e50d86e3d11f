"""Functional cores for tests: configurations, content, execution of single instructions."""

import ml_dtypes
import numpy as np
import pytest

from isa.config import load_config
from isa.image import ProgramImage
from isa.program import Op
from sim.functional import FunctionalCore
from tests.support import rng

TINY = load_config("tiny").replace(hbm="")
WIDE = TINY.replace(name="wide", cols=32, lanes=16, line_bytes=64)  # R < C, lanes < C
TALL = TINY.replace(name="tall", rows=32, cols=8, lanes=4, line_bytes=128)  # R > C
CONFIGS = pytest.mark.parametrize("config", [TINY, WIDE, TALL], ids=lambda config: config.name)


def make(config=TINY, hbm_bytes: int = 1 << 16) -> FunctionalCore:
    """A core whose SRAM holds random numbers, whether it is read as fp32 or as bf16."""
    core = FunctionalCore(config)
    core.load(ProgramImage(config, b"", hbm_bytes=hbm_bytes))
    numbers = rng(3).standard_normal(config.sram_bytes // 2).astype(ml_dtypes.bfloat16)
    core.sram[:] = numbers.view(np.uint8)
    scale = 1 if core.acc.dtype == np.float32 else 1e7
    core.acc[:] = (rng(4).standard_normal(core.acc.shape) * scale).astype(core.acc.dtype)
    return core


def execute(core: FunctionalCore, *ops: Op, hbm: np.ndarray | None = None) -> dict[str, int]:
    memory = core.hbm if hbm is None else hbm
    core.load(ProgramImage.from_ops(core.config, [*ops, Op("halt")]), memory)
    return core.run()


def put_bf16(core: FunctionalCore, address: int, values: np.ndarray, stride: int) -> None:
    for row, content in enumerate(values):
        data = content.astype(ml_dtypes.bfloat16).view(np.uint8)
        core.sram[address + row * stride :][: data.size] = data
