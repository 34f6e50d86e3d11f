"""The end of canonicalisation: outputs and caches are checked, what nobody needs is dropped."""

from collections.abc import Sequence

from compiler.canonical_context import Context
from compiler.errors import CompileError
from compiler.evaluate import Evaluator
from compiler.evaluate_node import source_of
from compiler.graph import Constant, Graph, Op, Output, Table, Tensor
from compiler.movement import CacheRoot, Moved


def finish(context: Context, source: str) -> Graph:
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
    number = context.rule[1] if context.rule and pick == context.rule[0] else 0
    return Output(name, tensor, context.evaluator.interface.outputs[name], pick, number, squeezed)


def _live(ops: dict[str, Op], outputs: Sequence[Output]) -> tuple[Op, ...]:
    """The operators that outputs and caches need, in order."""
    needed = {output.tensor.name for output in outputs}
    needed.update(op.output.name for op in ops.values() if op.kind == "attention")
    for op in reversed(list(ops.values())):
        if op.output.name in needed:
            needed.update(x.name for x in op.inputs if isinstance(x, Tensor))
    return tuple(op for op in ops.values() if op.output.name in needed)
