"""Names of signals that are made several at once: `a, b = Signal(), Signal()`.

Amaranth finds the name of a signal in the bytecode that stores it; of such an assignment it finds
that of the last one only, and the others become `$signal`, which nobody can read in a waveform.
"""

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import CodeType

from amaranth import tracer

_Place = tuple[int, int]  # line, column


@contextmanager
def tuples_are_named() -> Iterator[None]:
    """Inside, signals are named after their variables, also those of assignments to tuples."""
    original = tracer.get_var_name

    def get_var_name(depth: int = 2, default: object = tracer._raise_exception) -> object:
        frame = sys._getframe(depth)
        name = _tuple_name(frame.f_code, frame.f_lasti)
        return name or original(depth + 1, default)

    tracer.get_var_name = get_var_name
    try:
        yield
    finally:
        tracer.get_var_name = original


@cache
def _tuple_name(code: CodeType, instruction: int) -> str | None:
    """The variable that the call at ``instruction`` (a byte's index) is stored to by way of a
    tuple; None if it is not."""
    positions = list(code.co_positions())[instruction // 2]
    line, _, column, _ = positions
    return _names_of(code.co_filename).get((line, column))


@cache
def _names_of(path: str) -> dict[_Place, str]:
    """Where a call that is an element of a tuple begins → the variable it is assigned to."""
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError):
        return {}
    names = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
            for target in node.targets:
                if isinstance(target, ast.Tuple):
                    for variable, value in zip(target.elts, node.value.elts, strict=False):
                        if isinstance(value, ast.Call) and isinstance(variable, ast.Name):
                            names[value.lineno, value.col_offset] = variable.id
    return names
