"""split_heads: queries of many heads are made part by part.

Queries of all heads of a long pass, and what their rotation needs beside them, would not fit the
SRAM. What lies between their product and attention treats every head alike:

    attention(rope(x A), k, v)    becomes    attention(rope(x A[:, p]), k, v, rope(x A[:, q]) …)

Attention takes queries of further heads behind the values. Each part becomes bf16 rows as soon as
attention has begun, and gives its room back.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

from compiler.deferred import Array
from compiler.graph import Constant, Graph, Op, Operand, Tensor
from compiler.lower_elementwise import BINARY, REDUCTIONS, UNARY
from compiler.split_wide import is_plain, widest_part
from isa.config import ChipConfig

_OF_HEADS = {*BINARY, *UNARY, *REDUCTIONS, "rotate"}


def split_heads(graph: Graph, config: ChipConfig, chunk: int) -> Graph:
    """The graph for passes of ``chunk`` tokens."""
    made = {op.output.name: op for op in graph.ops}
    readers = defaultdict[str, list[Op]](list)
    for op in graph.ops:
        for x in op.inputs:
            if isinstance(x, Tensor):
                readers[x.name].append(op)
    kept = {output.tensor.name for output in graph.outputs}
    constants, before = dict(graph.constants), dict[str, list[Op]]()  # before an operator
    gone, changed = set[str](), dict[str, Op]()
    for op in graph.ops:
        ops = _queries(op, made, readers)
        heads, width = op.output.groups, op.output.width
        count = max(1, widest_part(config, chunk) // width)
        if not ops or heads <= count or any(each.output.name in kept for each in ops):
            continue
        (product,) = (each for each in ops if each.kind == "linear")
        parts = [(first, min(first + count, heads)) for first in range(0, heads, count)]
        before[product.output.name] = [
            _part(each, part, heads, constants) for part in parts for each in ops
        ]
        gone |= {each.output.name for each in ops}
        q, k, v, *biases = op.inputs
        assert isinstance(q, Tensor)
        first, *more = (_of(q, part, heads) for part in parts)
        changed[op.output.name] = replace(op, inputs=(first, k, v, *more, *biases))
    result = list[Op]()
    for op in graph.ops:
        result += before.get(op.output.name, [])
        if op.output.name not in gone:
            result.append(changed.get(op.output.name, op))
    return replace(graph, ops=tuple(result), constants=constants)


def _queries(op: Op, made: Mapping[str, Op], readers: Mapping[str, list[Op]]) -> list[Op]:
    """The operators, in order, that make an attention's queries and nothing else, from the product
    on; none where heads are not alike in them."""
    if op.kind != "attention" or {"codes", "score_grids", "weight_grid"} & set(op.attributes):
        return []
    q, heads = op.inputs[0], op.output.groups
    assert isinstance(q, Tensor)
    found, todo = dict[str, Op](), [q]
    while todo:
        x = todo.pop()
        if x.name in found:
            continue
        each = found[x.name] = made[x.name]
        if each.kind == "linear" and is_plain(each) and x.groups == 1:
            continue
        inputs = [i for i in each.inputs if isinstance(i, Tensor)]
        cuts = each.kind == "view" and inputs[0].groups == 1
        if x.groups != heads or not (cuts or each.kind in _OF_HEADS):
            return []
        if not cuts and any(i.groups != heads for i in inputs):
            return []
        todo += inputs
    names = {*found, op.output.name}
    products = sum(each.kind == "linear" for each in found.values())
    users = {user.output.name for name in found for user in readers[name]}
    if products != 1 or not users <= names:
        return []
    return [each for name, each in made.items() if name in found]


def _part(op: Op, part: tuple[int, int], heads: int, constants: dict[str, Array]) -> Op:
    """The operator for these heads of ``heads``."""
    output = _of(op.output, part, heads)
    if op.kind == "linear":
        size = op.output.size // heads
        return replace(op, output=output, attributes={"cols": (part[0] * size, part[1] * size)})
    inputs = tuple(_operand(x, part, heads, constants) for x in op.inputs)
    return replace(op, inputs=inputs, output=output)


def _of(x: Tensor, part: tuple[int, int], heads: int) -> Tensor:
    """These heads of a tensor, which has all of them."""
    count, name = part[1] - part[0], f"{x.name} of heads {part}"
    if x.groups > 1:
        return replace(x, name=name, groups=count)
    return Tensor(name, 1, x.size // heads * count)


def _operand(x: Operand, part: tuple[int, int], heads: int, constants: dict[str, Array]) -> Operand:
    """The same of an operand; a constant may be the same for all heads."""
    if isinstance(x, Tensor):
        return _of(x, part, heads)
    if isinstance(x, Constant) and heads > 1 and constants[x.name].shape[:-1] == (heads,):
        name = f"{x.name} of heads {part}"
        constants[name] = constants[x.name][slice(*part)]
        return Constant(name)
    return x
