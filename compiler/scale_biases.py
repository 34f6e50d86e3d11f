"""scale_biases: what is added to scores is multiplied by log2 e, for a softmax in the base 2."""

from dataclasses import replace

import numpy as np

from compiler.graph import Constant, Graph, Op, Operand, Table
from compiler.numerics import LOG2_E


def scale_biases(graph: Graph) -> Graph:
    """The graph with other constants and tables for the attentions' biases."""
    constants, tables = dict(graph.constants), dict(graph.tables)

    def scaled(x: Operand) -> Operand:
        if isinstance(x, Constant):
            name = f"{x.name} · log2 e"
            constants[name] = np.asarray(np.asarray(graph.constants[x.name]) * LOG2_E, np.float32)
            return Constant(name)
        if isinstance(x, Table):
            name = f"{x.name} · log2 e"
            tables[name] = np.asarray(graph.tables[x.name] * LOG2_E, np.float32)
            return Table(name)
        return x

    def changed(op: Op) -> Op:
        if op.kind != "attention" or len(op.inputs) == 3:
            return op
        return replace(op, inputs=(*op.inputs[:3], *map(scaled, op.inputs[3:])))

    ops = tuple(changed(op) for op in graph.ops)
    used = {x.name for op in ops for x in op.inputs if isinstance(x, Table)}
    tables = {name: table for name, table in tables.items() if name in used}
    return replace(graph, ops=ops, constants=constants, tables=tables)
