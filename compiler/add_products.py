"""add_products: what a product is added to is read where its sums leave the accumulators.

Rule: add(t, linear(x, W)), where nothing else reads the product, becomes linear(x, W) with the
attribute `plus` and t behind the matrix: one operator, which has no room of its own where it may
take that of t. The residual stream, and the sums of a wide product's parts, grow in place.
"""

from collections import Counter
from dataclasses import replace

from compiler.graph import Graph, Op, Tensor


def add_products(graph: Graph) -> Graph:
    """The graph with such products where their sums were."""
    reads = Counter(x.name for op in graph.ops for x in op.inputs if isinstance(x, Tensor))
    reads.update(output.tensor.name for output in graph.outputs)
    outputs = {output.tensor.name for output in graph.outputs}
    made, ops = dict[str, Op](), dict[str, Op]()  # by output, in order
    for op in graph.ops:
        made[op.output.name] = ops[op.output.name] = op
        if op.kind != "add" or op.output.name in outputs:
            continue
        products = [x for x in op.inputs if isinstance(x, Tensor) and _may_add(made[x.name])]
        alone = [x.name for x in products if reads[x.name] == 1]
        terms = [x for x in op.inputs if isinstance(x, Tensor) and x.size == op.output.size]
        if len(terms) < len(op.inputs) or not alone:
            continue
        last = max(alone, key=list(ops).index)
        (other,) = (x for x in terms if x.name != last)
        product = ops.pop(last)
        x, matrix, *scale = product.inputs
        ops[op.output.name] = replace(
            product,
            inputs=(x, matrix, other, *scale),
            output=op.output,
            sources=(*product.sources, *op.sources),
            attributes={**product.attributes, "plus": True},
        )
    return replace(graph, ops=tuple(ops.values()))


def _may_add(op: Op) -> bool:
    return op.kind == "linear" and "plus" not in op.attributes
