"""Legality of a canonical graph, as a table: one rule per operator kind."""

from collections.abc import Callable

from compiler.graph import Constant, Graph, Op, Operand, Scalar, Table, Tensor
from compiler.numerics import LARGEST_ROUNDED

Rule = Callable[[Graph, Op], bool]


def _size(graph: Graph, x: Operand) -> tuple[int, int]:
    """(groups, width) of an operand for one token."""
    if isinstance(x, Tensor):
        return x.groups, x.width
    if isinstance(x, Constant):
        groups, width = graph.constants[x.name].shape
        return groups, width
    return (1, graph.tables[x.name].shape[1]) if isinstance(x, Table) else (1, 1)


def _elementwise(graph: Graph, op: Op) -> bool:
    first, other = op.inputs
    out, size = _size(graph, op.output), _size(graph, other)
    fits = all(a in (1, b) for a, b in zip(size, out, strict=True))
    return isinstance(first, Tensor) and _size(graph, first) == out and fits


def _unary(graph: Graph, op: Op) -> bool:
    return _tensors(op, 1) and _size(graph, op.inputs[0]) == _size(graph, op.output)


def _round(graph: Graph, op: Op) -> bool:
    low, high = op.attributes["low"], op.attributes["high"]
    return _unary(graph, op) and -LARGEST_ROUNDED < low <= high < LARGEST_ROUNDED


def _reduce(graph: Graph, op: Op) -> bool:
    return _tensors(op, 1) and (_size(graph, op.inputs[0])[0], 1) == _size(graph, op.output)


def _launch_max(graph: Graph, op: Op) -> bool:
    return _tensors(op, 1) and _size(graph, op.output) == (1, 1)


def _embed(graph: Graph, op: Op) -> bool:
    (weight,) = op.inputs
    return isinstance(weight, Constant) and op.output.width == _size(graph, weight)[1]


def _linear(graph: Graph, op: Op) -> bool:
    x, weight, *scale = op.inputs
    if not isinstance(x, Tensor) or not isinstance(weight, Constant):
        return False
    if any(_size(graph, each) != (1, 2) for each in scale):
        return False
    want = x.width, op.output.width
    return graph.constants[weight.name].shape == want and x.groups == op.output.groups


def _top_index(graph: Graph, op: Op) -> bool:
    groups, width = _size(graph, op.inputs[0])
    out = op.output
    alike = _tensors(op, count := len(op.inputs)) and len({_size(graph, x) for x in op.inputs}) == 1
    most = width if count == 1 else count
    return alike and groups == 1 == out.width and min(count, most) <= out.groups <= most


def _one_hot(graph: Graph, op: Op) -> bool:
    return _tensors(op, 1) and _size(graph, op.inputs[0]) == (op.output.groups, 1)


def _lookup(graph: Graph, op: Op) -> bool:
    return isinstance(op.inputs[1], Constant) and _linear(graph, op)


def _sum_groups(graph: Graph, op: Op) -> bool:
    return _tensors(op, 1) and _size(graph, op.output) == (1, _size(graph, op.inputs[0])[1])


def _chosen_linear(graph: Graph, op: Op) -> bool:
    """Also each_linear, without the indices."""
    *tensors, weights = op.inputs
    if not _tensors(op, len(tensors)) or not isinstance(weights, Constant):
        return False
    (groups, width), out = _size(graph, op.inputs[0]), op.output
    experts, rows, cols = graph.constants[weights.name].shape
    fits = (rows, cols) == (width, out.width) and groups in (1, out.groups)
    if len(tensors) == 1:
        return fits and experts == out.groups
    return fits and _size(graph, op.inputs[1]) == (out.groups, 1)


def _rotate(graph: Graph, op: Op) -> bool:
    shift, signs, width = op.attributes["shift"], op.attributes["signs"], op.output.width
    return _unary(graph, op) and 0 <= shift < width == len(signs) and set(signs) <= {-1, 1}


def _arrange(graph: Graph, op: Op) -> bool:
    columns = [op.attributes[name] for name in ("source", "position", "signs")]
    sizes = [_size(graph, x) for x in op.inputs]
    if not _tensors(op, len(sizes)) or {len(c) for c in columns} != {op.output.width}:
        return False
    inside = all(
        0 <= s < len(sizes) and 0 <= p < sizes[s][1] and sign in (-1, 1)
        for s, p, sign in zip(*columns, strict=True)
    )
    return inside and {groups for groups, _ in sizes} == {op.output.groups}


def _view(graph: Graph, op: Op) -> bool:
    (x,) = op.inputs
    return isinstance(x, Tensor) and x.size == op.output.size


def _attention(graph: Graph, op: Op) -> bool:
    if (
        len(op.inputs) < 3
        or not _tensors(op, 3)
        or not 0 <= op.attributes["layer"] < len(graph.caches)
    ):
        return False
    cache = graph.caches[op.attributes["layer"]]
    q, k, v = (_size(graph, x) for x in op.inputs[:3])
    fits = True
    if op.attributes.get("sinks"):
        fits = isinstance(op.inputs[-1], Constant) and _size(graph, op.inputs[-1]) == (q[0], 1)
        fits &= "weight_grid" not in op.attributes
    fits &= k == v == (cache.heads, cache.width) and q[1] == cache.width
    biases = op.inputs[3:-1] if op.attributes.get("sinks") else op.inputs[3:]
    for bias in biases:
        groups = q[0] if isinstance(bias, Constant) else 1
        fits &= _size(graph, bias) == (groups, graph.max_context)
        fits &= len(biases) == 1 or (isinstance(bias, Table) and len(biases) == q[0])
    window = min(op.attributes["behind"], op.attributes["ahead"]) >= -1
    return fits and window and q[0] % k[0] == 0 and q == _size(graph, op.output)


def _tensors(op: Op, count: int) -> bool:
    return all(isinstance(x, Tensor) for x in op.inputs[:count])


RULES: dict[str, tuple[tuple[int, ...], Rule]] = {
    **dict.fromkeys(("add", "sub", "mul", "max", "min"), ((2,), _elementwise)),
    **dict.fromkeys(("sigmoid", "exp", "sqrt", "recip", "rsqrt", "tanh"), ((1,), _unary)),
    "round": ((1,), _round),
    **dict.fromkeys(("reduce_sum", "reduce_max"), ((1,), _reduce)),
    "launch_max": ((1,), _launch_max),
    "embed": ((1,), _embed),
    "features": ((0,), lambda graph, op: op.output.groups == 1),
    "linear": ((2, 3), _linear),
    "top_index": ((), _top_index),
    "drop_max": ((1,), _unary),
    "one_hot": ((1,), _one_hot),
    "lookup": ((2,), _lookup),
    "sum_groups": ((1,), _sum_groups),
    "chosen_linear": ((3,), _chosen_linear),
    "each_linear": ((2,), _chosen_linear),
    "rotate": ((1,), _rotate),
    "arrange": ((), _arrange),  # any number
    "view": ((1,), _view),
    "attention": ((), _attention),
}


def validate(graph: Graph) -> None:
    """Raise ValueError unless every operator is legal and uses only what exists before it."""
    defined, names = set[Tensor](), set[str]()
    for op in graph.ops:
        if op.kind not in RULES:
            raise ValueError(f"operator kind must be one of {', '.join(RULES)}, not {op.kind!r}")
        arities, rule = RULES[op.kind]
        missing = [x for x in op.inputs if not _exists(graph, x, defined)]
        if missing:
            raise ValueError(f"operands must exist before they are used, not {missing[0]}: {op}")
        if (arities and len(op.inputs) not in arities) or not rule(graph, op):
            raise ValueError(f"operands must fit the operator, not {op}")
        if op.output.name in names:
            raise ValueError(f"a tensor must have one operator, not two: {op}")
        defined.add(op.output)
        names.add(op.output.name)
    layers = sorted(op.attributes["layer"] for op in graph.ops if op.kind == "attention")
    if layers != list(range(len(graph.caches))):
        raise ValueError(f"each of {len(graph.caches)} caches needs one attention, not {layers}")
    for output in graph.outputs:
        if output.tensor not in defined:
            raise ValueError(f"outputs must be made by an operator, not {output.tensor}")


def _exists(graph: Graph, x: Operand, defined: set[Tensor]) -> bool:
    if isinstance(x, Tensor):
        return x in defined
    if isinstance(x, Constant):
        return x.name in graph.constants
    return isinstance(x, Scalar) or x.name in graph.tables
