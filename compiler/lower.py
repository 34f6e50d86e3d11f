"""lower: a canonical graph to virtual instructions, one handler per operator.

The program handles the S new tokens in chunks of at most ``chunk``: it fetches the chunk's
embeddings and table rows token by token, then runs the whole graph once with M = the chunk's
tokens. S and P are arguments in HBM, so one program serves every prompt length and every position.
"""

from collections.abc import Callable
from dataclasses import dataclass

from compiler.builder import Builder
from compiler.graph import Graph, Op
from compiler.lower_attention import lower_attention, reserve_caches
from compiler.lower_elementwise import (
    BINARY,
    REDUCTIONS,
    UNARY,
    lower_binary,
    lower_reduce,
    lower_rotate,
    lower_unary,
    lower_view,
)
from compiler.lower_inputs import chunk_head, chunk_tail, lower_embed, token_loop
from compiler.lower_linear import lower_linear, reserve_logits
from compiler.lowering import Caches, Logits, Lowering, describe
from compiler.rotate_signs import fold_rotate_signs
from compiler.virtual import Buffer
from isa.config import HBM_ATOM_BYTES, ChipConfig

HANDLERS: dict[str, Callable[[Lowering, Op], None]] = {
    **dict.fromkeys(BINARY, lower_binary),
    **dict.fromkeys(UNARY, lower_unary),
    **dict.fromkeys(REDUCTIONS, lower_reduce),
    "attention": lower_attention,
    "embed": lower_embed,
    "linear": lower_linear,
    "rotate": lower_rotate,
    "view": lower_view,
}


@dataclass(frozen=True)
class Lowered:
    """The virtual program and the places in HBM that the host has to know."""

    builder: Builder
    body_start: int  # index of the first instruction behind the token loop
    arguments: Buffer
    tokens: Buffer
    positions: Buffer
    caches: Caches
    logits: Logits


def lower(graph: Graph, config: ChipConfig, chunk: int) -> Lowered:
    """Emit the whole program for at most ``chunk`` tokens a pass.

    Raises DoesNotFit where the accumulators are too small for the chunk, CompileError for what no
    chunk size would mend.
    """
    build = Builder(config, chunk)
    graph = fold_rotate_signs(graph)
    arguments = build.hbm.reserve("arguments", HBM_ATOM_BYTES)
    tokens = build.hbm.reserve("tokens", 4 * graph.max_context)
    positions = build.hbm.reserve("positions", 4 * graph.max_context)
    caches = reserve_caches(graph, build)
    logits = reserve_logits(graph, build)
    low = Lowering.of(graph, config, build, caches, logits)
    chunk_head(build, arguments, caches.row_bytes)
    token_loop(low, tokens, positions)
    start = len(build.items)
    for op in graph.ops:
        if op.kind not in HANDLERS:
            raise low.refuse(op, f"{op.kind} has no lowering")
        with build.working_for(describe(op)):
            HANDLERS[op.kind](low, op)
    chunk_tail(build)
    return Lowered(build, start, arguments, tokens, positions, caches, logits)
