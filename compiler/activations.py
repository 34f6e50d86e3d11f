"""What the array multiplies with weights, in 8 bits: rounded activations, scaled back behind.

The format of a product's first operand is written into the graph (``codes``, a format of the ISA).
Dynamic: each row of each token has its own scale, its largest magnitude over the format's, which
the vector unit finds (`compiler.lower_activations`). Static: one scale for a tensor, the largest
magnitude that calibration saw over the format's; it is an operand, (1, 2): scale, reciprocal.

An array of bytes takes nothing else: there attention's queries and softmax weights are codes, too,
keys and values come from a cache of the same format.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace

import numpy as np
from onnx import TensorProto

from compiler.calibrate import F32, plain_storage, read_typical
from compiler.errors import CompileError
from compiler.graph import Constant, Graph, Op, Operand, Output, Scalar, Tensor
from compiler.lowering import describe
from compiler.quantiser import SCALES
from compiler.storage import CODES, INT8, KV, PRODUCTS, STATIC, STORED, WHOLE, Storage
from compiler.weights import LARGEST
from compiler.whole_bytes import of_whole_numbers
from isa.config import ChipConfig
from isa.formats import ACTIVATIONS, FORMATS
from isa.image import ProgramImage

FLAG = "--activations"


def check_activations(graph: Graph, config: ChipConfig, storage: Storage) -> None:
    """CompileError where the chip's array or the model do not allow what the flags say."""
    where, products = f"{graph.source}: {FLAG}", _products(graph)
    if unused := storage.activations.unused(products):
        raise CompileError(where, f"no product with weights is named {', '.join(unused)}")
    asked = {storage.activations.asked(op) for op in products}
    rounded = graph.quantised or any(of_whole_numbers(op) for op in products)
    if rounded and config.element == "fp8":
        problem = "the model rounds its activations to whole numbers itself"
        remedy = 'such models need a chip with element = "bf16" or "int8"'
        raise CompileError(where, problem, remedy)
    if config.element != "bf16":
        _check_array(graph, config, storage)
    elif rounded and not CODES.keys().isdisjoint(asked):
        raise CompileError(where, "the model rounds its activations itself", "leave it out")
    for op in products:
        if op.kind != "linear" and (kind := storage.activations.asked(op)).endswith(STATIC):
            problem = f"{kind} is for products whose weights are the same for all tokens"
            remedy = f"{FLAG} PATTERN={kind.removesuffix(STATIC)} works for this one"
            raise CompileError(f"{graph.source}: {describe(op)}: {FLAG}", problem, remedy)


def with_activations(
    graph: Graph, config: ChipConfig, storage: Storage, tops: Mapping[str, float]
) -> Graph:
    """The graph whose products say what they multiply; ``tops``: what `static_tops` found."""
    asked = {op.output.name: storage.activations.asked(op) for op in _products(graph)}
    constants, ops = dict(graph.constants), list[Op]()
    for op in graph.ops:
        name, inputs = op.output.name, op.inputs
        codes = CODES.get(asked.get(name, ""))
        if "codes" in op.attributes:
            codes = None  # as they come
        elif op.kind == "attention" and config.element != "bf16":
            codes = ACTIVATIONS[config.element][0]
        if codes and asked.get(name, "").endswith(STATIC):
            x = inputs[0]
            assert isinstance(x, Tensor)
            scale = f"{x.name}.scale of {codes}"
            constants[scale] = _scale(tops[x.name], LARGEST[codes])
            inputs = (*inputs, Constant(scale))
        attributes = {**op.attributes, "codes": codes} if codes else op.attributes
        ops.append(replace(op, inputs=inputs, attributes=attributes))
    return replace(graph, ops=tuple(ops), constants=constants)


def _products(graph: Graph) -> list[Op]:
    return [op for op in graph.ops if op.kind in PRODUCTS]


def bf16_twin(config: ChipConfig) -> ChipConfig:
    """A chip whose array takes bf16, for calibration: with half the rows, if a row of it would be
    longer than a line."""
    if config.element == "bf16":
        return config
    return config.replace(element="bf16", rows=min(config.rows, config.line_bytes // 2))


def describe_products(graph: Graph, storage: Storage) -> Iterator[tuple[str, str]]:
    """Of each ONNX node of a product: what it multiplies."""
    for op in graph.ops:
        if op.kind in PRODUCTS:
            text = f"activations {storage.activations.asked(op)}, weights {storage.weights.of(op)}"
            yield from ((str(source), text) for source in op.sources)
        elif op.kind == "attention" and "codes" in op.attributes:
            text = f"queries, softmax weights {op.attributes['codes']}, cache {storage.kv}"
            yield from ((str(source), text) for source in op.sources)


def _check_array(graph: Graph, config: ChipConfig, storage: Storage) -> None:
    """Refuse formats that an array of bytes does not take."""
    taken = ACTIVATIONS[config.element]
    names = [name for name, kind in CODES.items() if kind in taken]
    weights = [name for name, kind in STORED.items() if config.element in FORMATS[kind].arrays]
    kv = [name for name, kind in KV.items() if config.element in FORMATS[kind].arrays]
    chip = f"the array of {config.name!r} multiplies {config.element} values"
    remedy = (
        f"it takes {FLAG} {' or '.join(names)} with --weights {' or '.join(weights)} and "
        f'--kv {" or ".join(kv)}; a chip with element = "bf16" takes all'
    )
    for op in graph.ops:
        if op.kind == "attention" and _rounds_inside(graph, op):
            problem = f"the model quantises its attention; {chip}, each row with a scale of its own"
            remedy = 'such models need a chip with element = "bf16"'
            raise CompileError(f"{graph.source}: {describe(op)}", problem, remedy)
    for op in _products(graph):
        if of_whole_numbers(op) and config.element == INT8 and storage.weights.of(op) == WHOLE:
            continue
        for flag, kind, known in (
            (FLAG, storage.activations.asked(op), names),
            ("--weights", storage.weights.of(op), weights),
        ):
            if kind not in known:
                problem = f"{chip}, not {flag} {kind}"
                raise CompileError(f"{graph.source}: {describe(op)}", problem, remedy)
    if storage.kv not in kv:
        raise CompileError(graph.source, f"{chip}, not --kv {storage.kv}", remedy)


def _rounds_inside(graph: Graph, op: Op) -> bool:
    cache = graph.caches[op.attributes["layer"]]
    inside = {"score_grids", "weight_grid"} & op.attributes.keys()
    return bool(inside or cache.key_grids or cache.value_grids)


def static_tops(
    graph: Graph,
    storage: Storage,
    compile_with: Callable[..., ProgramImage],
    progress: Callable[[str], None] = lambda step: None,
) -> Mapping[str, float]:
    """The largest magnitude of each tensor that enters a static product; 1 without weights.
    ``compile_with``: the program of a graph in bf16, stored like this. CompileError where
    calibration does not work."""
    products = [op for op in _products(graph) if storage.activations.asked(op).endswith(STATIC)]
    tensors = list(dict.fromkeys(op.inputs[0] for op in products))
    if not products or not storage.stored:
        return {x.name: 1.0 for x in tensors if isinstance(x, Tensor)}
    where = f"{graph.source}: {FLAG}"
    if not storage.calibration:
        kind = storage.activations.asked(products[0])
        problem = f"the scales of {kind} are found by running the model"
        remedy = "give it typical token ids with --calibrate FILE, or leave out the -static"
        raise CompileError(where, problem, remedy)
    shown = {f"{x.name}.top": x.name for x in tensors if isinstance(x, Tensor)}
    image = compile_with(_observed(graph, tensors), storage=plain_storage(storage))
    found = dict.fromkeys(shown.values(), 0.0)
    try:
        for session, count in read_typical(image, storage.calibration, progress):
            outputs = session.host.outputs(count)
            for output, name in shown.items():
                found[name] = float(np.maximum(found[name], outputs[output].max()))
    except ValueError as error:
        raise CompileError(f"{graph.source}: --calibrate", str(error)) from None
    for name, top in found.items():
        if not np.isfinite(top):
            raise CompileError(f"{graph.source}: --calibrate", f"{name} is not finite")
    return found


def _observed(graph: Graph, entering: Collection[Operand]) -> Graph:
    """The graph with one more output for each of these tensors: each row's largest magnitude."""
    ops, outputs, seen = list[Op](), list(graph.outputs), set[str]()
    views = {op.output.name: op.inputs[0] for op in graph.ops if op.kind == "view"}
    for op in graph.ops:
        x = op.inputs[0] if op.inputs else None
        if isinstance(x, Tensor) and x in entering and x.name not in seen:
            seen.add(x.name)
            rows = x
            while isinstance(before := views.get(rows.name), Tensor):
                rows = before  # the same numbers, before rows with gaps were joined
            below, both = (replace(rows, name=f"{x.name}.{n}") for n in ("minus", "abs"))
            top = Tensor(f"{x.name}.top", rows.groups, 1)
            ops += [
                Op("mul", (rows, Scalar(-1)), below, op.sources),
                Op("max", (rows, below), both, op.sources),
                Op("reduce_max", (both,), top, op.sources),
            ]
            outputs.append(Output(top.name, top, TensorProto.FLOAT))
        ops.append(op)
    return replace(graph, ops=tuple(ops), outputs=tuple(outputs))


def _scale(top: float, largest: float) -> F32:
    """(1, 2): what one step is, and its reciprocal; of a tensor of zeros any."""
    scale = np.float32(np.clip(top / largest, *SCALES)) if top else np.float32(1)
    return np.array([[scale, np.float32(1) / scale]], np.float32)
