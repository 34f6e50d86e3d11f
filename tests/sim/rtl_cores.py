"""Programs on the verilated core with a simple memory, for tests."""

import numpy as np

from isa.config import load_config
from isa.program import Op, encode_program
from sim.rtl import RtlCore

TINY = load_config("tiny").replace(watchdog_cycles=1 << 12, hbm="")
DATA_ATOM = 512


def memory_with(code: bytes) -> np.ndarray:
    """64 KiB that begin with ``code``."""
    memory = np.zeros(1 << 16, np.uint8)
    memory[: len(code)] = np.frombuffer(code, np.uint8)
    return memory


def run_ops(core: RtlCore, *ops: Op, max_cycles: int = 10**6):
    """Run instructions on a memory of 64 KiB; returns the result and the memory."""
    memory = memory_with(encode_program(list(ops)))
    return core.run(memory, 0, len(ops), max_cycles), memory
