"""Nodes written as text, in place of one node."""

import re

import onnx
from onnx import parser

from compiler.errors import CompileError
from compiler.evaluate_node import source_of

_INPUT = re.compile(r"in(\d+)")


def fill(node: onnx.NodeProto, text: str) -> list[onnx.NodeProto]:
    """The nodes of ``text``, all with the name of the one that they replace: `in3` is its input 3,
    `out0` its output 0, all else is their own. CompileError where it has no such input."""
    graph = parser.parse_graph(f"t (float[N] in0) => (float[N] out0) {{ {text} }}")
    name = node.name or node.output[0]
    made = next(value for value in node.output if value)  # unique, also of nodes in a template
    names = {"": ""} | {f"in{i}": value for i, value in enumerate(node.input)}
    names |= {f"out{i}": value for i, value in enumerate(node.output) if value}
    for each in graph.node:
        for value in each.input:
            if value not in names and (found := _INPUT.fullmatch(value)):
                raise CompileError(str(source_of(node)), f"its input {found[1]} is missing")
        each.name = name
        for values in (each.input, each.output):
            values[:] = [names.get(value, f"{made}.{value}") for value in values]
    return list(graph.node)
