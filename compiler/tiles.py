"""How many keys of a layer are in SRAM at a time: those of the whole context, or a tile of them."""

from collections.abc import Iterator

from compiler.errors import CompileError
from compiler.graph import Graph
from compiler.head_batches import fits, head_batches
from compiler.lower_scores import padded_head, tile_unit
from compiler.storage import Storage
from isa.config import BF16_BYTES, F32_BYTES, ChipConfig

_LONGEST_WHOLE = 1 << 15  # limits of windows are signed 16-bit numbers
_TILES = (2048, 1024, 512, 256, 128, 64)


def tile_sizes(
    graph: Graph, config: ChipConfig, chunk: int, storage: Storage, wanted: int
) -> Iterator[int]:
    """Sizes to try for a chunk, in this order; 0 is the whole context. ``wanted`` alone, if it is
    given.

    All keys at once need no rescaling and no loop, so that is first where it can fit. Tiles are as
    large as half the SRAM and half the accumulators hold, scores included: the longer, the fewer
    are the pauses between them.
    """
    least = least_tile(config, chunk)
    if wanted:
        yield from [wanted] if wanted >= least else []
        return
    if storage.slots:  # a tile is a page
        if storage.slots > chunk:
            return
        sizes = [size for size in _TILES if least <= size < graph.max_context] or [least]
        yield from [s for s in sizes if _fits(graph, config, chunk, storage, s)][:1]
        return
    if graph.max_context < _LONGEST_WHOLE and _fits(graph, config, chunk, storage, 0):
        yield 0
    if cannot_tile(graph):
        return
    sizes = [size for size in _TILES if least <= size < graph.max_context]
    yield from [s for s in sizes if _fits(graph, config, chunk, storage, s)][:1]


def check_tile(graph: Graph, config: ChipConfig, wanted: int) -> None:
    """Refuse a size that is asked for and cannot work with any chunk."""
    least = least_tile(config, 1)
    if wanted & (wanted - 1) or wanted < least:
        raise CompileError(
            f"{graph.source}: --tile {wanted}", f"want a power of two from {least} on"
        )
    if problem := cannot_tile(graph):
        raise CompileError(f"{graph.source}: --tile {wanted}", problem)


def cannot_tile(graph: Graph) -> str:
    """Why keys cannot come in tiles; nothing if they can."""
    if graph.at_once and graph.causal:
        return "its numbers depend on all tokens of a launch, which tiles would part"
    if any("weight_grid" in op.attributes for op in graph.ops):
        return "its softmax is rounded once the sum of all keys is known, which tiles would part"
    return ""


def check_slots(graph: Graph, config: ChipConfig, storage: Storage) -> None:
    """Refuse programs that several sequences cannot share."""
    where, most = f"{graph.source}: --slots {storage.slots}", max(config.rows, 8)
    if not graph.causal:
        raise CompileError(where, "an encoder has no cache that goes on from launch to launch")
    if problem := cannot_tile(graph):
        raise CompileError(where, problem)
    if storage.slots > min(most, graph.max_context):
        raise CompileError(where, f"a pass has at most {min(most, graph.max_context)} tokens")


def least_tile(config: ChipConfig, chunk: int) -> int:
    """The smallest tile: one that holds a chunk wherever that begins between two units."""
    return 2 * max(chunk, tile_unit(config))


def _fits(graph: Graph, config: ChipConfig, chunk: int, storage: Storage, tile: int) -> bool:
    keys = tile or graph.max_context
    heads, width = max(((cache.heads, cache.width) for cache in graph.caches), default=(0, 0))
    cached = 2 * heads * storage.kv_format.bytes_of(padded_head(width, config))
    most, fitting = 0, True
    for op in graph.ops:
        if op.kind == "attention":
            sizes = (chunk, keys)
            alone = storage.slots > 0 or bool(op.attributes.get("codes"))
            batches = head_batches((op.output.groups, heads), width, sizes, config, alone)
            count = sum(batch.count for batch in batches[:2])  # whose scores are there together
            most = max(most, op.output.groups if "weight_grid" in op.attributes else count)
            fitting = fitting and fits(1, width, sizes, config)
    size = keys * (cached + most * chunk * (F32_BYTES + BF16_BYTES))
    return fitting and size <= (config.sram_bytes // 2 if tile else config.sram_bytes)
