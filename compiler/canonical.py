"""Turn a transformer in ONNX, as any exporter writes it, into the canonical graph."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import onnx
from onnx.shape_inference import InferenceError

from compiler import (
    attention,
    attention_sinks,
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
from compiler.attention_uncached import is_repeated
from compiler.canonical_context import Context, refuse
from compiler.canonical_contrib import group_query_attention
from compiler.canonical_movement import ALIASES, MOVES, alias, move
from compiler.canonical_norm import layer_norm, rms_norm, skip_norm
from compiler.canonical_pooling import mean_of_tokens
from compiler.canonical_rotary import rotary_embedding
from compiler.contrib import check_attributes, fix_caches, is_contrib
from compiler.errors import CompileError
from compiler.evaluate import Evaluator
from compiler.evaluate_node import source_of
from compiler.expand import COMPOSITES, expand
from compiler.expand_contrib import expand_contrib
from compiler.expand_images import expand_images
from compiler.expand_integers import expand_integers
from compiler.expand_quantised import expand_quantised
from compiler.graph import Constant, Graph, Op, Output, Source, Table, Tensor
from compiler.graph_rules import validate
from compiler.importer import check_names, is_registered
from compiler.importer_interface import check_shapes, check_types, find_interface
from compiler.movement import CacheRoot, Moved, Past

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
    "TopK": experts.top_k,
    "ScatterElements": experts.scatter,
    "Not": flags.negate,
    "Where": flags.where,
    "Gemm": linear.gemm,
}
IN_ATTENTION = {"IsNaN"}  # and nowhere else
SUPPORTED = {*HANDLERS, *MOVES, *ALIASES, *IN_ATTENTION}
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
        context = Context(evaluator, max_context)
        _define_inputs(context)
        for node in evaluator.live:
            if not evaluator.activations.isdisjoint(node.output):
                _canonicalise_node(context, node)
        graph = replace(_finish(context, source), images=images, tokens=interface.tokens)
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
    elif kind in ("Mul", "Div") and (
        any(on_cache) or any(is_repeated(context, name) for name in node.input)
    ):
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


def _finish(context: Context, source: str) -> Graph:
    """Check the outputs, drop dead operators and what only they used."""
    interface = context.evaluator.interface
    attended = [op.attributes["layer"] for op in context.ops.values() if op.kind == "attention"]
    if not context.caches:
        raise CompileError("it has no attention", "only transformers can run on the chip")
    for layer, cache in enumerate(interface.caches):
        if attended.count(layer) != 1:
            raise CompileError(
                f'input "{cache.past_key}"',
                f"its cache must be used by one attention, not by {attended.count(layer)}",
            )
        for name, part in ((cache.present_key, "key"), (cache.present_value, "value")):
            value = context.values.get(name)
            root = value.root if isinstance(value, Moved) and value.index is None else None
            if not isinstance(root, CacheRoot) or (root.cache, root.part) != (cache, part):
                raise CompileError(f'output "{name}"', f"it must be layer {cache.layer}'s {part}s")
    outputs = [_output(context, name) for name in interface.outputs]
    ops = _live(context.ops, outputs)
    used = {x for op in ops for x in op.inputs}
    return Graph(
        source=source,
        max_context=context.max_context,
        inputs=tuple(interface.elem_types),
        ops=ops,
        constants={k: v for k, v in context.constants.items() if Constant(k) in used},
        tables={k: v for k, v in context.tables.items() if Table(k) in used},
        caches=tuple(context.caches),
        outputs=tuple(outputs),
        excluded={name: sorted(ids) for name, ids in context.evaluator.excluded.items()},
        fates=_fates(context.evaluator, ops),
    )


def _fates(evaluator: Evaluator, ops: Sequence[Op]) -> dict[str, str]:
    """Every ONNX node, named with its operator, and what became of it."""
    kinds: dict[str, dict[str, None]] = {}
    for op in ops:
        for source in op.sources:
            kinds.setdefault(str(source), {})[op.kind] = None
    live, found = {id(node) for node in evaluator.live}, {}
    for node in evaluator.nodes:
        name = str(source_of(node))
        if name in kinds:
            found[name] = ", ".join(kinds[name])
        elif id(node) not in live:
            found[name] = "no output needs it"
        elif evaluator.activations.isdisjoint(node.output):
            found[name] = "worked out when compiled"
        else:
            found[name] = "moves nothing: in the operators around it"
    return found


def _output(context: Context, name: str) -> Output:
    """An output with a row of numbers for each token, or for the one that was picked."""
    where, producer = f'output "{name}"', context.evaluator.producer.get(name)
    if producer is None or context.is_known(name):
        raise CompileError(where, "it must depend on the tokens")
    tensor, pick = context.tensor(name, producer), context.picked.get(name, "")
    layout, shape = context.layout(name, producer), context.shapes(name)[0]
    wanted = 0 if pick else 1
    squeezed = layout.rank == wanted + 1
    if layout.token_axis != wanted or layout.rank > wanted + 2 or layout.heads > 1:
        problem = (
            f"it must be [batch, tokens, features], or one token's alone, not of shape {shape}"
        )
        raise CompileError(where, problem)
    return Output(name, tensor, context.evaluator.interface.outputs[name], pick, squeezed)


def _live(ops: dict[str, Op], outputs: Sequence[Output]) -> tuple[Op, ...]:
    """The operators that outputs and caches need, in order."""
    needed = {output.tensor.name for output in outputs}
    needed.update(op.output.name for op in ops.values() if op.kind == "attention")
    for op in reversed(list(ops.values())):
        if op.output.name in needed:
            needed.update(x.name for x in op.inputs if isinstance(x, Tensor))
    return tuple(op for op in ops.values() if op.output.name in needed)
