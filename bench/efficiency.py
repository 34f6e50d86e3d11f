"""What share of its peaks the chip reaches: products from HBM to HBM, and what binds them.

`sim/cycle/gemm.py` writes the programs. Cycles are the cycle model's, which are the RTL's; the
product of 256³ runs on the RTL too, where its result is checked.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from measure import Line

from isa.config import load_config
from isa.image import ProgramImage
from isa.program import Op
from isa.table import INSTRUCTION_BYTES
from sim.cycle.follow import follow
from sim.cycle.gemm import Gemm
from sim.cycle.model import CycleResult, run_trace
from sim.rtl import RtlCore

CUBE, PEAK_PERCENT = 256, 95
MOST_CYCLES = 1 << 24
# Chip, K = N, storage format of B.
NARROW = (
    ("small", 1024, "bf16"),
    ("small", 1024, "mxfp4"),
    ("server", 4096, "bf16"),
    ("server", 4096, "mxfp4"),
)
NARROW_ROWS = 8


def measure(quick: bool) -> Iterator[Line]:
    """Square products against the array's peak, narrow ones against the HBM's stream."""
    square = Gemm(load_config("small"), CUBE, CUBE, CUBE)
    yield _peak(square, _on_model(square.image).cycles, "cycle model")
    if not quick:
        yield _peak(square, _on_rtl(square), "RTL, exact result")
        large = Gemm(load_config("server"), 1024, 1024, 1024)
        yield replace(_peak(large, _on_model(large.image).cycles, "cycle model"), wanted=None)
    for chip, size, weights in NARROW[: 2 if quick else None]:
        yield _narrow(Gemm(load_config(chip), NARROW_ROWS, size, size, weights))


def _peak(gemm: Gemm, cycles: int, how: str) -> Line:
    best = gemm.m * gemm.k * gemm.n / (gemm.config.rows * gemm.config.cols)
    what = f"{gemm.config.name}, {gemm.m} x {gemm.k} x {gemm.n}, {how}"
    note = f"{cycles:,} cycles"
    return Line("of the MAC peak", what, 100 * best / cycles, "%", PEAK_PERCENT, note=note)


def _narrow(gemm: Gemm) -> Line:
    """Cycles of the loads alone, which is the HBM's bound, in those of the product."""
    image, config = gemm.image, gemm.config
    loads = [Op(op.mnemonic, op.fields) for op in image.ops() if op.mnemonic == "load"]
    alone = ProgramImage.from_ops(config, [*loads, Op("halt")], hbm_bytes=image.hbm_bytes)
    stream, found = _on_model(alone), _on_model(image)
    size = gemm.c - gemm.a
    waits = found.classes["load"]
    note = (
        f"{found.cycles:,} cycles, {size / found.cycles:.1f} bytes each; loads alone "
        f"{size / stream.cycles:.1f}; {found.counters['matrix_rows']:,} rows, loads wait "
        f"{waits['bank']:,} for banks, {waits['semaphore']:,} for buffers"
    )
    what = f"{config.name}, {gemm.m} x {gemm.k} x {gemm.n}, {gemm.weights}"
    return Line("of the HBM's stream", what, 100 * stream.cycles / found.cycles, "%", note=note)


def _on_model(image: ProgramImage) -> CycleResult:
    return run_trace(follow(image, image.memory()), image.config)


def _on_rtl(gemm: Gemm) -> int:
    """Cycles; RuntimeError where the product is wrong. Its numbers are whole, and C's exact."""
    dice, image = np.random.default_rng(1), gemm.image
    memory = image.memory()
    a = dice.integers(-1, 2, (gemm.m, gemm.k)).astype(np.float32)
    b = dice.integers(-1, 2, (gemm.k, gemm.n)).astype(np.float32)
    for start, values in ((gemm.a, a), (gemm.b, gemm.panels(b))):
        codes = (values.ravel().view(np.uint32) >> 16).astype(np.uint16)
        memory[start : start + codes.nbytes] = codes.view(np.uint8)
    core = RtlCore(gemm.config)
    count = len(image.code) // INSTRUCTION_BYTES
    cycles = core.run(memory, image.code_base, count, MOST_CYCLES).cycles
    core.close()
    codes = memory[gemm.c :][: gemm.m * gemm.c_row].view(np.uint16).astype(np.uint32) << 16
    if not np.array_equal(codes.view(np.float32).reshape(gemm.m, gemm.n), a @ b):
        raise RuntimeError(f"the RTL's product of {gemm.m} x {gemm.k} x {gemm.n} is wrong")
    return cycles
