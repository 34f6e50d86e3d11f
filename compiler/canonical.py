"""Turn a transformer in ONNX, as any exporter writes it, into the canonical graph."""

from collections.abc import Callable
from dataclasses import replace

import onnx
from onnx.shape_inference import InferenceError

from compiler import (
    attention,
    attention_sinks,
    canonical_choice as choice,
    canonical_elementwise as elementwise,
    canonical_experts as experts,
    canonical_flags as flags,
    canonical_gelu as gelu,
    canonical_linear as linear,
    canonical_quantise as quantise,
    picked_token,
)
from compiler.attention_cache import append_to_cache, scale_cache
from compiler.attention_probe import start_probe
from compiler.attention_quantised import BOTH, quantise_moved, quantise_past
from compiler.attention_uncached import is_repeated, scales_repeated
from compiler.canonical_context import Context, refuse
from compiler.canonical_contrib import group_query_attention
from compiler.canonical_finish import finish
from compiler.canonical_movement import ALIASES, MOVES, alias, move
from compiler.canonical_norm import layer_norm, rms_norm, skip_norm
from compiler.canonical_pieces import take_pieces
from compiler.canonical_pooling import mean_of_tokens
from compiler.canonical_rotary import rotary_embedding
from compiler.contrib import check_attributes, fix_caches, is_contrib
from compiler.errors import CompileError
from compiler.evaluate import Evaluator
from compiler.evaluate_node import source_of
from compiler.expand import COMPOSITES, expand
from compiler.expand_contrib import expand_contrib
from compiler.expand_convolutions import expand_convolutions
from compiler.expand_images import expand_images
from compiler.expand_integers import expand_integers
from compiler.expand_quantised import expand_quantised
from compiler.graph import Graph, Source, Tensor
from compiler.graph_rules import validate
from compiler.importer import check_names, is_registered
from compiler.importer_interface import check_shapes, check_types, find_interface
from compiler.movement import CacheRoot, Moved, Past
from compiler.picked_by_id import replace_picks

Handler = Callable[[Context, onnx.NodeProto], None]

HANDLERS: dict[str, Handler] = {
    **dict.fromkeys(elementwise.BINARY, elementwise.binary),
    **dict.fromkeys((*elementwise.UNARY, "Reciprocal"), elementwise.unary),
    **dict.fromkeys(("ReduceSum", "ReduceMean", "ReduceMax"), elementwise.reduce),
    **dict.fromkeys(("Clip", "Relu"), elementwise.clip),
    "Abs": elementwise.absolute,
    "Pow": elementwise.power,
    "Softmax": elementwise.softmax,
    "LayerNormalization": layer_norm,
    "RMSNormalization": rms_norm,
    "SimplifiedLayerNormalization": rms_norm,
    **dict.fromkeys(("SkipLayerNormalization", "SkipSimplifiedLayerNormalization"), skip_norm),
    "Erf": gelu.erf,
    **dict.fromkeys(("Gelu", "BiasGelu", "FastGelu"), gelu.gelu),
    "QuickGelu": gelu.quick_gelu,
    "RotaryEmbedding": rotary_embedding,
    "GroupQueryAttention": group_query_attention,
    "MatMulNBits": linear.matmul_n_bits,
    "MaxOverTokens": elementwise.launch_max,
    "QuantizeLinear": quantise.quantise,
    "DequantizeLinear": quantise.dequantise,
    "GatherBlockQuantized": linear.embed_quantised,
    "MatMul": linear.matmul,
    "TopK": choice.top_k,
    "ArgMax": choice.arg_max,
    "ScatterElements": choice.scatter,
    "Not": flags.negate,
    **dict.fromkeys(("Greater", "GreaterOrEqual", "Less", "LessOrEqual"), flags.compare),
    **dict.fromkeys(("And", "Or"), flags.join),
    "Where": flags.where,
    "Gemm": linear.gemm,
}
IN_ATTENTION = {"IsNaN"}  # and nowhere else
SUPPORTED = {*HANDLERS, *MOVES, *ALIASES, *IN_ATTENTION, "ScatterND"}
CONTROL_FLOW = {"If", "Loop", "Scan"}
MOST_NAMED = 3  # nodes named for each unsupported operator


def canonicalise(model: onnx.ModelProto, max_context: int | None, source: str) -> Graph:
    """The canonical graph of `model` for up to `max_context` tokens, by default as many as it has
    positions for, up to 512; batch is 1.

    `source` names the file in errors. Raises CompileError, one line, where the model cannot run on
    the chip: an unsupported operator, no KV cache, a mask that is not causal, and the like.
    """
    if max_context is not None and max_context < 1:
        raise ValueError(f"max_context must be at least 1, not {max_context!r}")
    check_names(model, source)
    check_attributes(model, source)
    try:
        model = expand_integers(expand_contrib(expand_quantised(model)))
        model, images = expand_images(model)
        model, rule = replace_picks(expand_convolutions(model))
    except CompileError as error:
        raise CompileError(source, str(error)) from error
    model = _expanded(model, source)
    fix_caches(model)
    interface = find_interface(model, source, images)
    evaluator = Evaluator(model, interface)
    _refuse_unsupported(evaluator, source)
    check_types(model, interface, source)
    check_shapes(model, interface, source)
    try:
        context = Context(evaluator, max_context, rule)
        _define_inputs(context)
        for node in evaluator.live:
            if not evaluator.activations.isdisjoint(node.output):
                _canonicalise_node(context, node)
        graph = replace(finish(context, source), images=images, tokens=interface.tokens)
    except CompileError as error:
        raise CompileError(source, str(error)) from error
    try:
        validate(graph)
    except ValueError as error:  # an operand of another size, which no rule of shapes has found
        raise CompileError(source, str(error)) from error
    return graph


def _expanded(model: onnx.ModelProto, source: str) -> onnx.ModelProto:
    try:
        return expand(model)
    except (RuntimeError, InferenceError) as error:
        names = ", ".join(sorted(COMPOSITES))
        problem = f"{names} cannot be replaced by its definition: {str(error).splitlines()[0]}"
        raise CompileError(source, problem) from error


def _refuse_unsupported(evaluator: Evaluator, source: str) -> None:
    """One error for all operators that nothing here can run or evaluate."""
    found: dict[str, list[str]] = {}
    for node in evaluator.live:
        standard = is_registered(node) or is_contrib(node)
        standard &= node.op_type not in CONTROL_FLOW
        computes = not evaluator.activations.isdisjoint(node.output)
        if not standard or (computes and node.op_type not in SUPPORTED):
            origin = source_of(node)
            found.setdefault(origin.op_type, []).append(origin.name)
    if found:
        listed = [
            f"{op_type} ({', '.join(names[:MOST_NAMED])}"
            + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
            + ")"
            for op_type, names in sorted(found.items())
        ]
        raise CompileError(
            source, f"unsupported operators: {', '.join(listed)}", "export the model without them"
        )


def _define_inputs(context: Context) -> None:
    for name in context.evaluator.interface.ids:
        context.values[name] = Moved(Tensor(name, 1, 1), context.shapes(name), token_axis=1)
    for name, width in context.evaluator.interface.features.items():
        sources, attributes = (Source(name, "input"),), {"input": name}
        tensor = context.emit("features", (), (1, width), name, sources, attributes)
        context.values[name] = Moved(tensor, context.shapes(name), token_axis=1)
    for cache in context.evaluator.interface.caches:
        context.values[cache.past_key] = Past(cache, "key")
        context.values[cache.past_value] = Past(cache, "value")


def _canonicalise_node(context: Context, node: onnx.NodeProto) -> None:
    if take_pieces(context, node):
        return
    values = [context.values.get(name) for name in node.input]
    on_cache = [isinstance(v, Moved) and isinstance(v.root, CacheRoot) for v in values]
    kind = node.op_type
    if kind not in MOVES:
        picked_token.follow(context, node)
    if any(isinstance(value, experts.Fetched) for value in values):
        experts.follow(context, node)
    elif any(isinstance(value, attention_sinks.WithSinks) for value in values):
        attention_sinks.follow(context, node)
    elif attention_sinks.join(context, node):
        return
    elif any(isinstance(value, attention.Scores) for value in values):
        attention.continue_scores(context, node)
    elif kind == "Concat" and append_to_cache(context, node):
        return
    elif kind in ("Mul", "Div") and (any(on_cache) or scales_repeated(context, node)):
        scale_cache(context, node)
    elif kind in BOTH and (any(on_cache) or is_repeated(context, node.input[0])):
        quantise_moved(context, node)
    elif kind in BOTH and isinstance(values[0], Past):
        quantise_past(context, node)
    elif kind == "MatMul" and (on_cache[1:] == [True] or _multiplies_tokens(context, node)):
        attention.start_scores(context, node)
    elif (
        (kind == "MatMul" and start_probe(context, node))
        or experts.take(context, node)
        or (kind == "ReduceMean" and mean_of_tokens(context, node))
    ):
        return
    elif kind == "Gather" and context.is_known(node.input[0]):
        linear.embed(context, node)
    elif kind in ALIASES:
        alias(context, node)
    elif kind in MOVES:
        move(context, node)
        picked_token.recognise(context, node)
    elif kind in HANDLERS:
        HANDLERS[kind](context, node)
    elif kind != "Shape" and kind != "Size":
        refuse(node, "it is supported in attention only")


def _multiplies_tokens(context: Context, node: onnx.NodeProto) -> bool:
    """Whether it is a product of activations in a graph without caches."""
    known = any(context.is_known(name) for name in node.input)
    return not known and not context.evaluator.interface.caches
