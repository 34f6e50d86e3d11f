"""jcc's passes in order: ONNX file → canonical graph → virtual program → program image."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
from onnx import helper

from compiler import allocate, schedule
from compiler.activations import (
    bf16_twin,
    check_activations,
    describe_products,
    static_tops,
    with_activations,
)
from compiler.assemble import assemble
from compiler.axes import context_for
from compiler.calibrate import with_int8_cache
from compiler.canonical import canonicalise
from compiler.errors import CompileError
from compiler.fuse_rounding import fuse_rounding
from compiler.graph import Constant, Graph, Image
from compiler.hoist import hoist_loads
from compiler.importer import load_model
from compiler.lower import Lowered, lower
from compiler.lower_inputs import features_bytes
from compiler.merge_loads import merge_loads, shared_loads
from compiler.order import order_by_products
from compiler.storage import IN_BF16, INT8, PRODUCTS, Storage
from compiler.tiles import check_slots, check_tile, tile_sizes
from compiler.virtual import Item
from compiler.walk import walk
from compiler.whole_bytes import with_whole_bytes
from isa.config import F32_BYTES, HBM_ATOM_BYTES, ChipConfig
from isa.image import ProgramImage
from isa.iomap import IoMap, Slots, Tensor

CHUNKS = (256, 128, 64, 32, 16, 8, 4, 2, 1)  # tokens in one pass: the largest that fits the SRAM
_SURE = 64
_EARLY_PART = 64  # of the SRAM: weights that are asked for before a pass's tokens are


def compile_file(
    path: Path,
    config: ChipConfig,
    max_context: int | None,
    progress: Callable[[str], None] = lambda step: None,
    storage: Storage = IN_BF16,
    limits: Mapping[str, int] = MappingProxyType({}),
    tile: int = 0,
) -> ProgramImage:
    """Compile an ONNX transformer for a chip; ``limits`` of its symbolic axes, by name; ``tile``:
    keys of a layer that are in SRAM at a time, 0: chosen.

    CompileError says in one line what cannot be done.
    """
    progress("import")
    model = load_model(path, storage.stored)
    max_context = context_for(model, str(path), limits, max_context)
    progress("canonicalise")
    graph = canonicalise(model, max_context, str(path))
    return compile_graph(graph, config, progress, storage, tile)


def compile_graph(
    graph: Graph,
    config: ChipConfig,
    progress: Callable[[str], None] = lambda step: None,
    storage: Storage = IN_BF16,
    tile: int = 0,
) -> ProgramImage:
    """Lower, schedule and assemble a canonical graph; ``tile`` as above."""
    if unused := storage.weights.unused(graph.ops):
        raise CompileError(
            f"{graph.source}: --weights", f"no product with weights is named {', '.join(unused)}"
        )
    calibrating = partial(compile_graph, config=bf16_twin(config), progress=progress, tile=tile)
    check_activations(graph, config, storage)
    tops = static_tops(graph, storage, calibrating, progress)
    rounded = [cache.layer for cache in graph.caches if cache.key_grids or cache.value_grids]
    if storage.kv == "fp8" and rounded:
        problem = (
            f"the model rounds the keys of layer {rounded[0]} to whole numbers fp8 cannot hold"
        )
        raise CompileError(f"{graph.source}: --kv", problem, "--kv bf16 keeps its numbers")
    if storage.kv == INT8:
        graph = with_int8_cache(graph, storage, calibrating, progress)
    if config.element == INT8:
        graph = with_whole_bytes(graph)
    graph = with_activations(graph, config, storage, tops)
    if storage.slots:
        check_slots(graph, config, storage)
    if tile:
        check_tile(graph, config, tile)
    most = min(_most_tokens(graph, config, storage), max(1, graph.max_context))
    chunks = [c for c in CHUNKS if c <= most]
    sizes = ((c, t) for c in chunks for t in tile_sizes(graph, config, c, storage, tile))
    for chunk, keys in sizes:
        progress(f"lower, {chunk} tokens a pass")
        try:
            lowered = lower(graph, config, chunk, storage, keys)
            items, bodies = fuse_rounding(lowered.builder.items, lowered.bodies, config)
            items, bodies = merge_loads(items, bodies, config)
            items, addresses = _place(items, bodies, config, lowered.builder.loop)
        except allocate.DoesNotFit:
            continue
        progress("synchronise")
        peak = allocate.peak(items, addresses)
        schedule.synchronise(items, addresses)
        if lowered.builder.loop:
            items = walk(items, lowered.builder.layers)
        resolved = schedule.resolve(items, addresses)
        meta = _meta(graph, lowered, {"chunk": chunk, "sram_peak": peak, "tile": keys}, storage)
        meta["shared_loads"] = shared_loads(items)
        return assemble(lowered.builder, resolved, _io_map(graph, lowered), meta)
    raise CompileError(
        graph.source,
        f"one token with a context of {graph.max_context} needs more than the {config.sram_bytes} "
        f"bytes of SRAM or the {config.acc_rows} accumulator rows of {config.name!r}",
        "choose a smaller --max-context or a larger --config",
    )


def _place(
    items: list[Item], bodies: list[int], config: ChipConfig, loop: tuple[str, str] | None
) -> tuple[list[Item], dict[str, int]]:
    """The program in its best order that fits, and SRAM addresses: products come early, or, as that
    takes more room, do not; loads come early."""
    for ordered in (order_by_products(items, bodies), items):
        if allocate.live_bytes(allocate.lifetimes(ordered, loop)) > config.sram_bytes:
            continue  # wherever it lies
        try:
            return hoist_loads(ordered, bodies, config, loop, config.sram_bytes // _EARLY_PART)
        except allocate.DoesNotFit:
            pass
    raise allocate.DoesNotFit


def _most_tokens(graph: Graph, config: ChipConfig, storage: Storage) -> int:
    """Of a pass that is tried: with these a tile of weights, in the widest format that products
    have, keeps the array as busy as the memory's port; more would leave less room for weights that
    come early. No more than _SURE where three fp32 tensors of all heads, as there are while queries
    are made and attended with, are more than the SRAM."""
    bits = max((storage.weights.bits(op) for op in graph.ops if op.kind in PRODUCTS), default=16)
    tile = int(config.rows * config.cols * bits) // 8
    most = max(8, config.rows, tile // config.axi_bytes)
    widest = max((op.output.size for op in graph.ops if op.kind == "attention"), default=0)
    fitting = config.sram_bytes // max(1, 3 * F32_BYTES * widest)
    return min(most, max(_SURE, fitting))


def _meta(
    graph: Graph, lowered: Lowered, sizes: Mapping[str, int], storage: Storage
) -> dict[str, object]:
    """What the image says about itself."""
    meta: dict[str, object] = {
        "source": Path(graph.source).name,
        **sizes,
        "operators": len(graph.ops),
        "weights": storage.weights.lines(),
        "activations": storage.activations.lines(),
        "kv": storage.kv,
        "fates": _fates(graph, lowered, storage),
    }
    if not storage.stored:
        meta["no_weights"] = True
    return meta


def _fates(graph: Graph, lowered: Lowered, storage: Storage) -> dict[str, str]:
    """What became of every ONNX node; of products also, of what."""
    fates = dict(graph.fates) | _fates_of_layers(lowered)
    for name, text in describe_products(graph, storage):
        fates[name] = f"{fates[name]}; {text}" if name in fates else text
    return fates


def _fates_of_layers(lowered: Lowered) -> dict[str, str]:
    """Nodes of all layers but the first, where they are one loop."""
    layers, fates = lowered.layers, {}
    if layers:
        for index in range(layers.start + layers.period, layers.end):
            op = lowered.ops[index]
            first = lowered.ops[layers.start + (index - layers.start) % layers.period]
            for source in op.sources:
                fates[str(source)] = f"{op.kind}, in one loop with {first.sources[0]}"
    return fates


def _io_map(graph: Graph, lowered: Lowered) -> IoMap:
    tensors = [*_inputs(graph, lowered), *_caches(graph, lowered), *_outputs(graph, lowered)]
    for buffer in lowered.kept:
        place = (buffer.address or 0, HBM_ATOM_BYTES, HBM_ATOM_BYTES // F32_BYTES)
        rows = buffer.size // HBM_ATOM_BYTES
        tensors.append(Tensor("", "scratch", *place, "f32", rows, "float32"))
    arguments = lowered.arguments.address or 0
    places = arguments, arguments + 4, graph.max_context
    caches = lowered.caches
    slots = None
    if found := caches.slots:
        sizes = found.record_bytes, found.count, caches.keys, found.pages
        slots = Slots(found.records.address or 0, *sizes)
    chooses, exact = lowered.generation, graph.tokens
    return IoMap(*places, tuple(tensors), graph.causal, chooses, lowered.most_new, slots, exact)


def _inputs(graph: Graph, lowered: Lowered) -> list[Tensor]:
    context = graph.max_context
    one = (4, 1, "int32", context, "int64")
    limits: dict[str, int] = {}  # several embeddings may be chosen from: the smallest counts
    for op in graph.ops:
        if op.kind == "embed" and isinstance(x := op.inputs[0], Constant):
            name, rows = str(op.attributes["ids"]), len(graph.constants[x.name])
            limits[name] = min(rows, limits.get(name, rows))
    excluded = graph.excluded
    tensors = [
        Tensor(
            name,
            "tokens",
            buffer.address or 0,
            *one,
            limit=limits[name],
            excluded=excluded.get(name, ()),
        )
        for name, buffer in lowered.ids.items()
    ]
    tensors += _features(graph, lowered)
    if "attention_mask" in graph.inputs:
        tensors.append(Tensor("attention_mask", "mask", 0, 0, *one[1:]))
    positions = "position_ids" if "position_ids" in graph.inputs else ""
    place = lowered.positions.address or 0
    return [*tensors, Tensor(positions, "positions", place, *one, limit=context)]


def _features(graph: Graph, lowered: Lowered) -> Iterator[Tensor]:
    for op in graph.ops:
        if op.kind == "features":
            name, width = str(op.attributes["input"]), op.output.width
            buffer, size = lowered.features[name], features_bytes(lowered.builder, width)
            place = (buffer.address or 0, size, width, "f32", graph.max_context, "float32")
            image = graph.images.get(name, Image((), (), ()))
            cut = image.size, image.cut, image.order
            yield Tensor(name, "features", *place, image=cut[0], cut=cut[1], order=cut[2])


def _caches(graph: Graph, lowered: Lowered) -> Iterator[Tensor]:
    row, head = lowered.caches.row_bytes, lowered.caches.head_bytes
    kind, rows = lowered.caches.format.name, lowered.caches.bytes // row
    for cache, (keys, values) in zip(graph.caches, lowered.caches.buffers, strict=True):
        key = cache.past_key, cache.present_key, cache.key_grids, cache.key_scales
        value = cache.past_value, cache.present_value, cache.value_grids, cache.value_scales
        for buffer, (past, present, grids, scales) in ((keys, key), (values, value)):
            shape = (buffer.address or 0, row, cache.width, kind, rows, "float32")
            steps = tuple(astuple(grid) for grid in grids)
            of_heads = cache.heads, head, present
            yield Tensor(past, "kv", *shape, *of_heads, grids=steps, scales=scales)


def _outputs(graph: Graph, lowered: Lowered) -> Iterator[Tensor]:
    for output in graph.outputs:
        stored = lowered.outputs[output.tensor.name]
        layout = stored.layout
        yield Tensor(
            output.name,
            "output",
            stored.buffer.address or 0,
            stored.row_bytes,
            layout.width,
            "f32",
            graph.max_context,
            np.dtype(helper.tensor_dtype_to_np_dtype(output.elem_type)).name,
            layout.segments,
            F32_BYTES * layout.padded_width,
            pick=output.pick,
            pick_id=output.pick_id,
            squeezed=output.squeezed,
        )
