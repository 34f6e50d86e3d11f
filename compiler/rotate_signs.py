"""fold_rotate_signs: a rotation's signs move into the position table its result is multiplied with.

Rule: rotate(x; shift, signs) whose only consumer is mul(·, table) becomes rotate(x; shift, +1 …)
and mul(·, table · signs). Saves one vector instruction for each rotary embedding.
"""

from dataclasses import replace

import numpy as np

from compiler.graph import Graph, Op, Table, Tensor


def fold_rotate_signs(graph: Graph) -> Graph:
    """The graph with signed tables added; other operators are untouched."""
    consumers: dict[str, list[Op]] = {}
    for op in graph.ops:
        for operand in op.inputs:
            if isinstance(operand, Tensor):
                consumers.setdefault(operand.name, []).append(op)
    tables = dict(graph.tables)
    changed: dict[int, Op] = {}
    for op in graph.ops:
        users = consumers.get(op.output.name, [])
        if op.kind == "rotate" and len(users) == 1 and users[0].kind == "mul":
            _fold(op, users[0], tables, changed)
    ops = tuple(changed.get(id(op), op) for op in graph.ops)
    used = {i.name for op in ops for i in op.inputs if isinstance(i, Table)}
    return replace(graph, ops=ops, tables={n: t for n, t in tables.items() if n in used})


def _fold(rotate: Op, mul: Op, tables: dict[str, np.ndarray], changed: dict[int, Op]) -> None:
    table = next((i for i in mul.inputs if isinstance(i, Table)), None)
    signs = np.array(rotate.attributes["signs"], np.float32)
    if table is None or tables[table.name].shape[1] != len(signs):
        return
    pattern = "".join("-" if sign < 0 else "+" for sign in signs)
    name = f"{table.name} · {pattern}"
    tables[name] = tables[table.name] * signs
    inputs = tuple(Table(name) if isinstance(i, Table) else i for i in mul.inputs)
    plain = dict(rotate.attributes) | {"signs": (1,) * len(signs)}
    changed[id(rotate)] = replace(rotate, attributes=plain)
    changed[id(mul)] = replace(mul, inputs=inputs)
