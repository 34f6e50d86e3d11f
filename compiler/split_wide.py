"""split_wide: wide tensors between two products are made and used up part by part.

A gated MLP widens each token by a factor of three or four, twice, and passes of many tokens, which
read the weights once for all of them, would not fit the SRAM. What lies between products with the
same input and the one that takes it all is element-wise, so columns need not meet:

    h = act(x A) * (x B), y = h C    becomes    y = Σ (act(x A[:, p]) * (x B[:, p])) C[p]

The parts' products are operators of their own, "linear" with attributes `rows` and `cols`: which
part of the matrix they multiply with.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import lcm

from compiler.builder import round_up
from compiler.deferred import Array
from compiler.graph import Constant, Graph, Op, Operand, Table, Tensor
from compiler.lower_elementwise import BINARY, UNARY
from isa.config import F32_BYTES, ChipConfig
from isa.formats import FORMATS

_SRAM_PART = 16  # of the SRAM that a part of a tensor may take
_POINTWISE = {*BINARY, *UNARY}


def split_wide(graph: Graph, config: ChipConfig, chunk: int) -> Graph:
    """The graph for passes of ``chunk`` tokens. Products of quantised activations stay whole."""
    widest = widest_part(config, chunk)
    blocks = [entry.block for entry in FORMATS.values() if entry.block]
    unit = lcm(config.rows, config.cols, config.lanes, *blocks)
    if graph.quantised or max(op.output.size for op in graph.ops) <= max(widest, unit):
        return graph
    inside: dict[str, list[Op]] = {}  # by the product that takes all of it
    made, readers = {op.output.name: op for op in graph.ops}, defaultdict[str, set[str]](set)
    for op in graph.ops:
        for i in op.inputs:
            if isinstance(i, Tensor):
                readers[i.name].add(op.output.name)
    for output in graph.outputs:
        readers[output.tensor.name].add("")
    for op in graph.ops:
        x = op.inputs[0]
        if op.kind == "linear" and isinstance(x, Tensor) and x.size > max(widest, unit):
            inside[op.output.name] = _between(op, made, readers)
    gone = {op.output.name for ops in inside.values() for op in ops}
    constants, result = dict(graph.constants), list[Op]()
    for op in graph.ops:
        if ops := inside.get(op.output.name):
            total = _sum_with(op, made, readers)
            gone |= {total.output.name} if total else set()
            result += _parts(op, ops, constants, (widest, unit), total)
        elif op.output.name not in gone:
            result.append(op)
    return replace(graph, ops=tuple(result), constants=constants)


def widest_part(config: ChipConfig, chunk: int) -> int:
    """Elements a token that a part of a tensor may have."""
    return config.sram_bytes // _SRAM_PART // (F32_BYTES * chunk)


def _between(down: Op, made: Mapping[str, Op], readers: Mapping[str, set[str]]) -> list[Op]:
    """The operators, in order, that make the input of a product from other products, and nothing
    else; none where they are not all element-wise, or where another one reads what they make.
    ``made``: operators by their outputs, ``readers``: the outputs of those that read a tensor."""
    (h, *_) = down.inputs
    assert isinstance(h, Tensor)
    found, todo = dict[str, Op](), [h] if is_plain(down) else []
    while todo:
        x = todo.pop()
        if x.name in found:
            continue
        op = made[x.name]
        if (x.groups, x.width) != (1, h.width):
            return []
        found[x.name] = op
        if op.kind == "linear" and is_plain(op):
            continue
        if op.kind not in _POINTWISE or any(isinstance(i, Table) for i in op.inputs):
            return []
        todo += [i for i in op.inputs if isinstance(i, Tensor)]
    users = set(found) | {down.output.name}
    products = any(op.kind == "linear" for op in found.values())
    if not products or any(not readers[name] <= users for name in found):
        return []
    return [op for name, op in made.items() if name in found]


def _sum_with(down: Op, made: Mapping[str, Op], readers: Mapping[str, set[str]]) -> Op | None:
    """The operator that adds the product, which nothing else reads, to a tensor that is there
    before: the parts are added to that one by one."""
    names = list(made)
    (reader, *others) = readers[down.output.name] or [""]
    if others or not reader or made[reader].kind != "add":
        return None
    terms = [x for x in made[reader].inputs if x != down.output]
    if len(terms) != 1 or not isinstance(terms[0], Tensor) or terms[0].size != down.output.size:
        return None
    before = names.index(terms[0].name) < names.index(down.output.name)
    return made[reader] if before else None


def is_plain(op: Op) -> bool:
    """Whether a product has nothing but its tensor and its matrix: no activations in codes."""
    return len(op.inputs) == 2 and not op.attributes


def _parts(
    down: Op,
    ops: list[Op],
    constants: dict[str, Array],
    sizes: tuple[int, int],
    sum_with: Op | None,
) -> Iterator[Op]:
    """All operators again for each part, whose results are added up, to what ``sum_with`` adds if
    it is there; ``sizes``: of a part at most, and what each is a multiple of. The products that
    make a part come before the one that uses up the part before: that waits for more than them."""
    (h, weights), (widest, unit) = down.inputs, sizes
    assert isinstance(h, Tensor)
    step = round_up(-(-h.width // -(-h.width // max(widest, unit))), unit)
    total, sources, end = None, down.sources, down.output
    if sum_with:
        (total,) = (x for x in sum_with.inputs if isinstance(x, Tensor) and x != down.output)
        sources, end = sum_with.sources, sum_with.output
    parts = [(start, min(start + step, h.width)) for start in range(0, h.width, step)]
    makers = [[_part(op, part, constants) for op in ops] for part in parts]
    yield from makers[0]
    for part, following in zip(parts, [*makers[1:], []], strict=True):
        yield from following
        y = Tensor(f"{down.output.name} of {part}", 1, down.output.width)
        product = _of(h, part, constants), weights
        yield replace(down, inputs=product, output=y, attributes={"rows": part})
        if total:
            both = f"{down.output.name} up to {part[1]}"
            added = end if part[1] == h.width else replace(y, name=both)
            yield Op("add", (total, y), added, sources)
            y = added
        total = y


def _part(op: Op, part: tuple[int, int], constants: dict[str, Array]) -> Op:
    """The operator for these columns of its output."""
    output = _of(op.output, part, constants)
    assert isinstance(output, Tensor)
    if op.kind == "linear":
        return replace(op, output=output, attributes={"cols": part})
    inputs = tuple(_of(x, part, constants) for x in op.inputs)
    return replace(op, inputs=inputs, output=output)


def _of(x: Operand, part: tuple[int, int], constants: dict[str, Array]) -> Operand:
    """These columns of a tensor or of a constant row."""
    if isinstance(x, Tensor):
        return Tensor(f"{x.name} of {part}", 1, part[1] - part[0])
    if isinstance(x, Constant) and constants[x.name].shape[-1] > 1:
        name = f"{x.name} of {part}"
        constants[name] = constants[x.name][..., slice(*part)]
        return Constant(name)
    return x
