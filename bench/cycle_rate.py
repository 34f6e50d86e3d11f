"""How fast the cycle model is: CPU time of one core, traces included."""

import resource
import time
from collections.abc import Iterator

from large import CONTEXT, WHOLE, without_weights
from measure import BIN, ROOT, Line, command_cost

from compiler.canonical import canonicalise
from compiler.importer import load_model
from compiler.pipeline import compile_graph
from compiler.storage import Storage
from isa.config import load_config
from isa.image import ProgramImage, save_image
from isa.program import Op
from sim.cycle.follow import follow
from sim.cycle.gemm import Gemm
from sim.cycle.measure import time_trace, trace_to_time
from sim.cycle.model import CycleResult, run_trace
from sim.cycle.products import product
from sim.cycle.profile import situation_of

PRODUCT_MS, LARGE_PRODUCT_MS, DECODE_SECONDS, PREFILL_SECONDS = 20, 100, 0.5, 1
MODEL, PAST, PROMPT = "llama-3-8b", 8000, 2048
LARGE, BLOCKS = 4096, 8  # a product whose operands no SRAM holds, by blocks of rows
PREFILL_LIMIT = 600  # CPU seconds
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

    if not quick:
        yield _large_product()
        yield from _whole_model()


def _large_product() -> Line:
    """Block after block, each from HBM to HBM."""
    config = load_config("server")
    gemm = Gemm(config, LARGE // BLOCKS, LARGE, LARGE)
    block = [*gemm.image.ops()[:-1], Op("sync")]
    image = ProgramImage.from_ops(
        config, [*block * BLOCKS, Op("halt")], hbm_bytes=gemm.image.hbm_bytes
    )
    start = time.process_time()
    found = time_trace(follow(image, image.memory()), config)
    seconds = time.process_time() - start
    assert not isinstance(found, CycleResult)
    cycles = found.result.cycles
    note = f"{cycles:,} cycles ± {found.bound / cycles:.1%}, {BLOCKS} blocks of {gemm.m} rows"
    what = f"{LARGE}³ on server, hbm3e"
    return Line(GROUP, what, 1e3 * seconds, "ms", LARGE_PRODUCT_MS, most=True, note=note)


def _whole_model() -> Iterator[Line]:
    """A step of the whole model, estimated, jcc not included; a prefill, as a command."""
    graph = canonicalise(load_model(without_weights(MODEL), False), int(CONTEXT[MODEL]), MODEL)
    config = load_config(f"server,{WHOLE[MODEL]}")
    image = compile_graph(graph, config, storage=Storage(stored=False))
    start = time.process_time()
    found = time_trace(trace_to_time(image, situation_of(image, 1, PAST).hbm), config)
    seconds = time.process_time() - start
    assert not isinstance(found, CycleResult)
    cycles, peak = found.result.cycles, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    note = (
        f"{cycles:,} cycles ± {found.bound / cycles:.1%}; {peak:.1f} GB at the most, jcc included"
    )
    what = f"decode step of {MODEL} at {PAST:,} tokens"
    yield Line(GROUP, what, seconds, "s", DECODE_SECONDS, most=True, note=note)
    path = ROOT / "build" / f"{MODEL}-timing.jx"
    save_image(image, path)
    command = [str(BIN / "jalapeno"), "profile", str(path), "--tokens", str(PROMPT), "--past", "0"]
    cost = command_cost(command, cpu_limit=PREFILL_LIMIT)
    note = "" if cost.finished else f"not finished in {PREFILL_LIMIT} CPU seconds"
    what, value = f"prefill of {PROMPT:,} tokens of {MODEL}", cost.cpu if cost.finished else None
    yield Line(GROUP, what, value, "s", PREFILL_SECONDS, most=True, note=note)


def _time(image: ProgramImage) -> tuple[float, int]:
    """CPU seconds and the program's cycles; the best of three, the first of which may build."""
    best = float("inf")
    for _ in range(3):
        start = time.process_time()
        found = run_trace(follow(image, image.memory()), image.config)
        best = min(best, time.process_time() - start)
    return best, found.cycles
