"""lower: a canonical graph to virtual instructions, one handler per operator.

The program handles the S new tokens in chunks of at most ``chunk``: it fetches the chunk's
embeddings and table rows token by token, then runs the whole graph once with M = the chunk's
tokens; of an encoder, one part of the graph after another (`compiler.passes`). Where a number
depends on all new tokens there are two programs: one for a single chunk, one for more. S and P are
arguments in HBM, so one program serves every prompt length and every position.
"""

from collections.abc import Callable
from dataclasses import dataclass

from compiler import builder as b
from compiler.add_products import add_products
from compiler.builder import Builder
from compiler.graph import Graph, Op
from compiler.layers import Layers
from compiler.layout import choose_layouts
from compiler.lower_arrange import lower_arrange
from compiler.lower_attention import (
    lower_append,
    lower_attend,
    lower_attention,
    reserve_caches,
)
from compiler.lower_choice import BEGIN, choose_and_repeat, load_wanted, logits_of
from compiler.lower_each_linear import lower_each_linear
from compiler.lower_elementwise import (
    BINARY,
    REDUCTIONS,
    UNARY,
    lower_binary,
    lower_reduce,
    lower_rotate,
    lower_round,
    lower_unary,
)
from compiler.lower_experts import lower_chosen_linear
from compiler.lower_inputs import (
    chunk_head,
    chunk_tail,
    fetch_tokens,
    load_arguments,
    lower_embed,
    lower_features,
    reserve_features,
)
from compiler.lower_launch_max import lower_launch_max, lower_note_max, lower_noted_max
from compiler.lower_layers import after_layers, choose_layers, lower_layers
from compiler.lower_linear import lower_linear, stores_itself
from compiler.lower_outputs import bring, keep, reserve_outputs, store_output
from compiler.lower_top_index import (
    lower_drop_max,
    lower_lookup,
    lower_one_hot,
    lower_sum_groups,
    lower_top_index,
)
from compiler.lower_view import lower_view
from compiler.lowering import Caches, Lowering, Stored, describe
from compiler.passes import Pass, cut
from compiler.rotate_signs import fold_rotate_signs
from compiler.scale_biases import scale_biases
from compiler.split_heads import split_heads
from compiler.split_wide import split_wide
from compiler.storage import IN_BF16, Storage
from compiler.virtual import Buffer, Label
from isa.config import HBM_ATOM_BYTES, ChipConfig
from isa.iomap import Generation

HANDLERS: dict[str, Callable[[Lowering, Op], None]] = {
    **dict.fromkeys(BINARY, lower_binary),
    **dict.fromkeys(UNARY, lower_unary),
    **dict.fromkeys(REDUCTIONS, lower_reduce),
    "arrange": lower_arrange,
    "attention": lower_attention,
    "chosen_linear": lower_chosen_linear,
    "each_linear": lower_each_linear,
    "lookup": lower_lookup,
    "one_hot": lower_one_hot,
    "sum_groups": lower_sum_groups,
    "top_index": lower_top_index,
    "drop_max": lower_drop_max,
    "append": lower_append,
    "attend": lower_attend,
    "embed": lower_embed,
    "features": lower_features,
    "launch_max": lower_launch_max,
    "linear": lower_linear,
    "note_max": lower_note_max,
    "noted_max": lower_noted_max,
    "rotate": lower_rotate,
    "round": lower_round,
    "view": lower_view,
}

_CHUNKS, _PASSES_END = "several chunks", "behind the passes"


@dataclass(frozen=True)
class Lowered:
    """The virtual program, the operators that became it, and the places in HBM that the host has to
    know."""

    builder: Builder
    ops: tuple[Op, ...]
    bodies: list[int]  # index of the first instruction that loads may move up to, of each pass
    arguments: Buffer
    ids: dict[str, Buffer]  # by input
    positions: Buffer
    caches: Caches
    outputs: dict[str, Stored]  # by tensor
    kept: list[Buffer]  # what lies in HBM between the passes
    most_new: int  # tokens of one launch; 0: the context
    generation: Generation | None
    layers: Layers | None  # that are one loop
    features: dict[str, Buffer]  # rows of numbers, by input


def lower(
    graph: Graph, config: ChipConfig, chunk: int, storage: Storage = IN_BF16, tile: int = 0
) -> Lowered:
    """Emit the whole program for at most ``chunk`` tokens a pass, stored like this, with ``tile``
    keys of a layer in SRAM at a time (0: those of the whole context).

    Raises DoesNotFit where the accumulators are too small for the chunk, CompileError for what no
    chunk size would mend.
    """
    build = Builder(config, chunk, storage.stored)
    graph = split_wide(scale_biases(fold_rotate_signs(graph)), config, chunk)
    graph = add_products(split_heads(graph, config, chunk))
    arguments = build.hbm.reserve("arguments", HBM_ATOM_BYTES)
    names = dict.fromkeys(op.attributes["ids"] for op in graph.ops if op.kind == "embed")
    ids = {name: build.hbm.reserve(name, 4 * graph.max_context) for name in names}
    features = reserve_features(graph, build)
    positions = build.hbm.reserve("positions", 4 * graph.max_context)
    layouts = choose_layouts(graph, config)
    layers = choose_layers(graph, build, layouts, storage)
    looped = graph.ops[layers.start : layers.end] if layers else ()
    numbers = {op.attributes["layer"] for op in looped if op.kind == "attention"}
    caches = reserve_caches(graph, build, storage, tile, numbers)
    outputs = reserve_outputs(graph, build, layouts)
    low = Lowering(graph, config, build, caches, outputs, layouts, storage, features=features)
    bodies = []
    load_arguments(build, arguments)
    build.label(BEGIN)
    # Loops over layers, tiles and slots are of passes that go through the whole graph.
    more = graph.at_once and layers is None and not (graph.causal and caches.tiled)
    if more:
        build.scalar("add", rd=b.SCRATCH, rs=b.ZERO, x=chunk)
        build.scalar("blt", rs=b.SCRATCH, x=b.NEW_TOKENS, y=Label(_CHUNKS))
    logits = None if storage.slots else logits_of(graph, config)
    inputs = ids, positions, arguments if logits else None
    bodies += _lower_passes(low, cut(graph), "chunk", inputs, layers)
    if more:
        build.scalar("beq", rs=b.ZERO, x=0, y=Label(_PASSES_END))
        build.label(_CHUNKS)
        build.hbm.again()
        bodies += _lower_passes(low, cut(graph, chunks=True), "each chunk", inputs, None)
        build.label(_PASSES_END)
    most_new = chunk if (graph.at_once and not more) or caches.slots else 0
    kept = list({entry.buffer.name: entry.buffer for entry in low.kept.values()}.values())
    kept += [*low.chosen.values(), *low.noted.values()]
    generation = None
    if logits:
        (tokens,) = ids.values()
        places = arguments, tokens, positions
        generation, place = choose_and_repeat(build, outputs[logits], places, graph.max_context)
        kept.append(place)
    build.scalar("halt")
    bodies = sorted([*bodies, *build.fences])
    in_hbm = arguments, ids, positions, caches, outputs, kept
    return Lowered(build, graph.ops, bodies, *in_hbm, most_new, generation, layers, features)


def _lower_passes(
    low: Lowering,
    passes: list[Pass],
    label: str,
    inputs: tuple[dict[str, Buffer], Buffer, Buffer | None],
    layers: Layers | None,
) -> list[int]:
    """Passes over all new tokens, one after another; ``inputs``: ids, positions, and arguments of
    a program that chooses tokens. Returns the first instructions that loads may be moved up to."""
    build, bodies = low.builder, []
    ids, positions, arguments = inputs
    low.reads.begin(op for each in passes for op in each.ops)
    for number, each in enumerate(passes):
        build.start_pass(walks=layers is not None)
        chunk_head(build, f"{label} {number}", low.caches, low.graph.causal)
        bring(low, each.brought)
        bodies.append(len(build.items))
        fetch_tokens(low, each.ops, ids, positions)
        bodies += _lower_ops(low, each.ops, layers)
        keep(low, each.kept)
        if arguments and number == len(passes) - 1:
            load_wanted(build, arguments)
        chunk_tail(build, f"{label} {number}")
    return bodies


def _lower_ops(low: Lowering, ops: tuple[Op, ...], layers: Layers | None) -> list[int]:
    """All operators of a pass; returns where loops over layers begin and end."""
    if layers is None:
        for op in ops:
            _lower_op(low, op)
        return []
    for op in ops[: layers.start]:
        _lower_op(low, op)
    count = layers.count - 1
    note = f", and in {count} more layer{'s' if count > 1 else ''}"
    borders = lower_layers(low, layers, lambda op: _lower_op(low, op, note))
    for op in ops[layers.end :]:
        _lower_op(low, after_layers(layers, op))
    return borders


def _lower_op(low: Lowering, op: Op, note: str = "") -> None:
    if op.kind not in HANDLERS:
        raise low.refuse(op, f"{op.kind} has no lowering")
    with low.builder.working_for(describe(op) + note):
        HANDLERS[op.kind](low, op)
        if op.output.name in low.outputs and not stores_itself(op):
            store_output(low, op)
    low.reads.finish(op)
