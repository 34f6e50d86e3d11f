"""What compiled programs make of the chip: of the array's peak, and of what the memory gives.

On the cycle model, which takes the RTL's cycles. Products count without padding. The memory's best
is a program of nothing but long loads on the same chip ("stream").
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import onnx
from large import WHOLE, without_weights
from measure import BIN, ROOT, Line, command_cost
from trained import TRAINED

from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.image import ProgramImage, load_image
from isa.program import Op
from sim.costs import costs, totals
from sim.cycle.follow import follow
from sim.cycle.model import run_trace
from sim.cycle.profile import Profile, profile

sys.path.insert(0, str(ROOT / "programs"))
from export_sizes import decoder
from llama_graph import build_graph

GROUP = "throughput"
MODEL = "llama-3-8b"
LARGE = f"server,{WHOLE[MODEL]}"
VOCABULARY = 512  # of the large layer: logits are not what is measured
PROMPT, PAST, CONTEXT = 512, 500, 1024
STREAM_PERCENT, PEAK_PERCENT, FASTER = 90, 90, 3.6
_STREAM_LOADS, _STREAM_BYTES = 16, 1 << 19


@dataclass(frozen=True)
class Rates:
    """Of one launch, in parts of 1: ``macs`` of the array's peak, ``port`` of the memory port's
    beats; its ``cycles``, by how many they may be off, and the node that most of them belong to."""

    cycles: int
    macs: float
    port: float
    longest: str
    bound: int


def measure(folder: Path, quick: bool) -> Iterator[Line]:
    """A small trained model, and with ``quick`` no more; Llama-3-8B, a layer and all."""
    (glass,) = (model for model in TRAINED if model.name == "glass_en")
    small = _compiled(folder, glass.path, "small", "--max-context", str(glass.context))
    yield _decode("glass_en, decode on small", _rates(small, 1, 100), small.config)
    if quick:
        return
    layer = folder / "layer.onnx"
    onnx.save(build_graph(decoder(MODEL, 1, VOCABULARY)), layer)
    yield from _large("a layer", folder, layer, exact=True)
    yield from _large("whole", folder, without_weights(MODEL), exact=False)


def _large(part: str, folder: Path, model: Path, exact: bool) -> Iterator[Line]:
    """Prefill and decode of Llama-3-8B, or a part of it, in both formats; estimated unless
    ``exact``."""
    decodes = []
    for kind in ("bf16", "mxfp4"):
        options = ("--max-context", str(CONTEXT), "--no-weights", "--weights", kind)
        image = _compiled(folder, model, LARGE, *options)
        name = f"Llama-3-8B, {part}, {kind}"
        found = _rates(image, PROMPT, 0, exact)
        note = f"{image.meta['chunk']} tokens a pass; {_note(found)}"
        what = f"{name}, prefill of {PROMPT}"
        yield Line(GROUP, what, 100 * found.macs, "% of peak", PEAK_PERCENT, note=note)
        decodes.append(_rates(image, 1, PAST, exact))
        yield _decode(f"{name}, decode", decodes[-1], image.config)
    ratio = decodes[0].cycles / decodes[1].cycles
    yield Line(GROUP, f"{part}, decode, mxfp4 against bf16", ratio, "times as fast", FASTER)


def _compiled(folder: Path, model: Path, config: str, *options: str) -> ProgramImage:
    image = folder / "throughput.jx"
    words = [str(BIN / "jcc"), str(model), "-o", str(image), "--config", config, "--quiet"]
    command_cost([*words, *options])
    return load_image(image)


def _decode(what: str, found: Rates, config: ChipConfig) -> Line:
    best = stream(config)
    note = f"{100 * found.port:.1f} % of the port, which a stream fills to {100 * best:.1f} %; "
    value, wanted = 100 * found.port / best, STREAM_PERCENT
    return Line(GROUP, what, value, "% of stream", wanted, note=note + _note(found))


def _note(found: Rates) -> str:
    near = f" ± {found.bound / found.cycles:.1%}" if found.bound else ""
    return f"{found.cycles:,} cycles{near}, most for {found.longest}"


def _rates(image: ProgramImage, tokens: int, past: int, exact: bool = True) -> Rates:
    found: Profile = profile(image, tokens, past, "cycle", exact)
    macs = totals(costs(image, tokens, past))["macs"]
    peak = found.cycles * image.config.rows * image.config.cols
    longest = max(found.nodes, key=lambda node: node.cycles).name
    bound = found.estimate["bound"] if found.estimate else 0
    return Rates(found.cycles, macs / peak, found.utilisation["memory port"], longest, bound)


@lru_cache
def stream(config: ChipConfig) -> float:
    """The part of the memory port's beats that a program of long loads fills."""
    size = min(config.sram_bytes // 2, _STREAM_BYTES)
    ops = []
    for number in range(_STREAM_LOADS):
        place = size // HBM_ATOM_BYTES * (number + 1)
        ops.append(Op("load", {"hbm": place, "sram": number % 2 * size, "rows": 1, "bytes": size}))
    memory = (_STREAM_LOADS + 1) * size
    image = ProgramImage.from_ops(config, [*ops, Op("halt")], hbm_bytes=memory)
    cycles = run_trace(follow(image, image.memory()), config).cycles
    return _STREAM_LOADS * size / (cycles * config.axi_bytes)
